//! The parts of a task beside its arguments: dates, limits, stamps, what follows, headers of the application's own.

use super::*;

const MS: u64 = 1_000;

#[test]
fn dates_are_instants_whatever_their_offset() {
    for (name, eta, expires) in [
        ("v1-eta-expires", Some(1_795_330_266_391), Some(1_795_330_296_391)),
        ("v2-kwargs", None, None),
        ("v2-eta-naive", Some(1_893_499_200 * MS), None),
        ("v2-eta-aware", Some(1_893_499_200 * MS), None),
        ("v2-eta-offset", Some(1_893_479_400 * MS), None),
        ("v2-tz-utc-kolkata", Some(1_795_330_263_078), Some(1_795_330_293_078)),
        ("v2-eta-and-expires", Some(1_795_330_236_915), Some(1_795_330_231_915)),
        ("v2-beat", None, Some(1_795_331_357_498)),
        ("delayed-cd10-exp5", Some(1_795_330_847_047), Some(1_795_330_842_047)),
        ("bad-eta-past", Some(978_307_200 * MS), None),
        ("bad-eta-space", Some(978_307_200 * MS), None),
        ("bad-eta-z", Some(978_307_200 * MS), None),
        ("bad-expires-naive-past", None, Some(978_307_200 * MS)),
        ("bad-expires-past", None, Some(978_307_200 * MS)),
    ] {
        let task = good(name);
        assert_eq!((task.eta, task.expires), (eta, expires), "{name}");
    }
    let mut envelope = with_body("[[], {}, {}]");
    envelope.headers.set("eta", Value::Time(1_795_330_000));
    envelope.expiration = Some("5000".to_owned());
    let task = taken("a timestamp of AMQP", &envelope);
    assert_eq!((task.eta, task.expires), (Some(1_795_330_000 * MS), None), "the property is the broker's");
}

#[test]
fn a_date_in_the_body_may_be_a_typed_value() {
    let mut envelope = with_body(
        r#"{"task": "t", "id": "i", "eta": {"__type__": "datetime", "__value__": "2001-01-01T00:00:00"}, "expires": "2001-01-01T02:00:00+02:00", "utc": false}"#,
    );
    envelope.headers = Headers::default();
    let task = taken("protocol 1", &envelope);
    assert_eq!((task.eta, task.expires), (Some(978_307_200 * MS), Some(978_307_200 * MS)));
}

#[test]
fn the_longest_wait_is_the_one_of_native_delays() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let mut envelope = with_body("[[], {}, {}]");
    let bounds = Bounds::default();
    envelope.headers.set("eta", Value::Time(now + (1 << 28) - 60));
    assert!(decode(&envelope, &bounds).is_ok());
    envelope.headers.set("eta", Value::Time(now + (1 << 28) + 60));
    assert!(decode(&envelope, &bounds).is_err());
}

#[test]
fn limits_are_a_pair_hard_before_soft() {
    for (name, soft, hard) in [
        ("v2-timelimit", Some(20.0), Some(30.0)),
        ("v2-timelimit-frac", Some(2.5), None),
        ("v2-kwargs", None, None),
        ("v1-basic", None, None),
        ("bad-timelimit-negative", None, None),
        ("bad-timelimit-null", None, None),
    ] {
        let task = good(name);
        assert_eq!((task.soft_limit, task.hard_limit), (soft, hard), "{name}");
    }
    let mut envelope = with_body("[[], {}, {}]");
    let pair = vec![Value::Decimal(25, 1), Value::Float(f64::INFINITY)];
    envelope.headers.set("timelimit", Value::List(pair));
    let task = taken("a decimal", &envelope);
    assert_eq!((task.soft_limit, task.hard_limit), (None, Some(2.5)));
}

#[test]
fn retries_and_what_events_show() {
    assert_eq!(good("v2-retries").retries, 2);
    assert_eq!(good("bad-retries-string").retries, 0);
    let task = good("v2-args");
    assert_eq!(task.args_repr, "['dev-1', 'get', 3, True, None, 1.5]");
    assert_eq!((task.kwargs_repr.as_str(), task.shadow), ("{}", None));
    assert_eq!(good("bad-headers-minimal").args_repr, "");
}

#[test]
fn a_stamp_is_a_list_of_values() {
    let of = |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|v| (*v).to_owned()).collect());
    let expected: Vec<(String, Vec<String>)> = vec![of("batch", &["b1", "b2"]), of("tenant", &["acme"])];
    assert_eq!(good("v2-stamped").stamps, expected);
    assert_eq!(good("v2-kwargs").stamps, vec![]);
    let mut envelope = with_body("[[], {}, {}]");
    envelope.headers.set("stamped_headers", Value::List(vec!["a".into(), Value::Int(1), "b".into(), "c".into()]));
    let stamps = [("a", Value::Int(7)), ("b", Value::Bool(true)), ("d", "no name of a stamp".into())];
    envelope.headers.set("stamps", Value::Table(Headers(stamps.map(|(n, v)| (n.to_owned(), v)).into())));
    assert_eq!(taken("stamps", &envelope).stamps, vec![of("a", &["7"]), of("b", &["True"])]);
}

#[test]
fn only_the_applications_headers_are_kept() {
    for name in ["v2-args", "v2-stamped", "v2-gzip", "v2-beat", "v1-basic", "delayed-cd5-exp60", "bad-ok-control"] {
        let extra: Vec<String> = good(name).extra.0.into_iter().map(|(name, _)| name).collect();
        assert_eq!(extra, Vec::<String>::new(), "{name}");
    }
    let mut envelope = with_body("[[], {}, {}]");
    for name in ["x-death-row", "x-delivery-count", "x-last-death-queue", "x-switchboard-expires-at", "tenant"] {
        envelope.headers.set(name, "x".into());
    }
    envelope.headers.set("x-delivery-counter", Value::List(vec![Value::Null]));
    let mine = vec![
        ("tenant".to_owned(), Value::from("x")),
        ("x-delivery-counter".to_owned(), Value::List(vec![Value::Null])),
    ];
    assert_eq!(taken("headers", &envelope).extra, Headers(mine.clone()));
    envelope.body = r#"{"args": [], "tenant": "of the body", "retries": 3, "root_id": "r"}"#.into();
    envelope.headers.set("root_id", Value::Null);
    let task = taken("both protocols", &envelope);
    assert_eq!((task.extra, task.retries, task.head.root_id.as_deref()), (Headers(mine), 3, Some("r")));
    envelope.headers.set("retries", Value::Int(4));
    assert_eq!(taken("both protocols", &envelope).retries, 4, "headers go first");
}

fn names(signatures: &[Signature]) -> Vec<&str> {
    signatures.iter().map(|signature| signature.task.as_str()).collect()
}

#[test]
fn what_follows_is_read_with_the_task() {
    let embed = good("v2-link-many").embed;
    assert_eq!(names(&embed.callbacks), ["mqtt.echo"; 2]);
    assert_eq!(embed.callbacks.iter().map(|signature| signature.immutable).collect::<Vec<_>>(), [false, true]);
    assert_eq!(embed.callbacks[0].args[0].get(), "1");
    assert_eq!(embed.callbacks[0].option::<String>("queue").as_deref(), Some("commands"));
    let embed = good("v2-chain-link-error").embed;
    assert_eq!((names(&embed.errbacks), embed.chain.is_empty()), (vec!["mqtt.errback"], false));
    let chain = good("v2-chain-of-group").embed.chain;
    assert_eq!((names(&chain), chain[0].subtask_type.as_deref()), (vec!["celery.group"], Some("group")));
    assert_eq!(good("v2-chain-with-chord.1").embed.chord.unwrap().task, "celery.chain");
    assert_eq!(good("v2-chord-redis.0").embed.chord.unwrap().task, "mqtt.sum");
    assert_eq!(names(&good("v2-msgpack-link").embed.callbacks), ["mqtt.echo"]);
    assert_eq!(names(&good("v1-link").embed.callbacks), ["mqtt.echo"]);
    let next: Vec<Signature> = good("v1-chain").embed.callbacks[0].option("link").unwrap();
    assert_eq!(names(&next), ["mqtt.add"], "a chain of protocol 1 is callbacks in callbacks");
    assert!(good("bad-chain-no-options").embed.chain[0].options.is_empty());
    let none = [good("v2-kwargs").embed, good("bad-embed-null").embed, good("bad-embed-extra").embed];
    for embed in none {
        let lists = [embed.callbacks.len(), embed.errbacks.len(), embed.chain.len()];
        assert_eq!((lists, embed.chord.is_none()), ([0; 3], true));
    }
}

#[test]
fn a_long_chain_of_protocol_1_may_nest_deeper_than_arguments() {
    let (begin, end) = (r#"{"task": "t", "options": {"link": ["#, "]}}");
    let chain = format!("{}{}", begin.repeat(90), end.repeat(90));
    let mut envelope = with_body(&format!(r#"{{"task": "t", "id": "i", "callbacks": [{chain}]}}"#));
    envelope.headers = Headers::default();
    let task = taken("a chain", &envelope);
    assert_eq!(task.embed.callbacks.len(), 1);
}
