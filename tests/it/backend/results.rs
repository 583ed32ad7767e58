//! Results: their keys, values, times and channels.

use super::*;
use futures_util::StreamExt;

#[tokio::test]
async fn a_result_has_the_key_the_value_and_the_time_that_python_reads() {
    let (_redis, backend, client) = start().await;
    let id = "03583e70-0aba-4415-b864-7badf68b6607";
    let body = envelope("SUCCESS", id);
    backend.store(id, "SUCCESS", body.as_bytes()).await.unwrap();
    let key = "celery-task-meta-03583e70-0aba-4415-b864-7badf68b6607";
    assert_eq!(client.run::<Vec<String>>(&["KEYS", "*"]).await, [key]);
    assert_eq!(client.get(key).await.as_deref(), Some(body.as_str()));
    let left: i64 = client.run(&["TTL", key]).await;
    assert!((DAY - 60..=DAY).contains(&left), "{left}");
}

#[tokio::test]
async fn a_subscriber_of_the_key_hears_the_result_when_it_is_stored() {
    let (redis, backend, client) = start().await;
    let mut subscriber = redis::Client::open(redis.server().url()).unwrap().get_async_pubsub().await.unwrap();
    subscriber.subscribe("celery-task-meta-heard").await.unwrap();
    let body = envelope("FAILURE", "heard");
    backend.store("heard", "FAILURE", body.as_bytes()).await.unwrap();
    let message = timeout(PATIENCE, subscriber.on_message().next()).await.unwrap().unwrap();
    assert_eq!(message.get_payload::<String>().unwrap(), body);
    assert_eq!(client.get("celery-task-meta-heard").await, Some(body));
}

#[tokio::test]
async fn the_commands_are_those_of_a_captured_python_worker() {
    let (redis, backend, client) = start().await;
    let watched = redis::Client::open(redis.server().url()).unwrap().get_async_monitor().await.unwrap();
    backend.store("one", "SUCCESS", envelope("SUCCESS", "one").as_bytes()).await.unwrap();
    backend.begin_chord("two", 3, None).await.unwrap();
    // Its own name in the stream says that everything before it was seen.
    client.get("the end").await;
    let mut said = Vec::new();
    let mut lines = watched.into_on_message::<String>();
    while !said.last().is_some_and(|line: &String| line.contains("the end")) {
        said.push(timeout(PATIENCE, lines.next()).await.unwrap().unwrap());
    }
    let body = envelope("SUCCESS", "one").replace('"', "\\\"");
    for command in [
        r#""GET" "celery-task-meta-one""#.to_owned(),
        format!(r#""SETEX" "celery-task-meta-one" "86400" "{body}""#),
        format!(r#""PUBLISH" "celery-task-meta-one" "{body}""#),
        r#""DEL" "celery-taskset-meta-two.c""#.to_owned(),
        r#""SET" "celery-taskset-meta-two.s" "3" "EX" "86400""#.to_owned(),
    ] {
        assert!(said.iter().any(|line| line.ends_with(&command)), "{command} is not in {said:#?}");
    }
}

#[tokio::test]
async fn a_success_stays_and_every_other_state_is_replaced() {
    let (_redis, backend, client) = start().await;
    for state in ["PENDING", "STARTED", "RETRY", "FAILURE", "REVOKED", "SUCCESS"] {
        backend.store("task", state, envelope(state, "task").as_bytes()).await.unwrap();
        assert_eq!(client.get("celery-task-meta-task").await, Some(envelope(state, "task")));
    }
    for state in ["FAILURE", "SUCCESS"] {
        backend.store("task", state, envelope(state, "late").as_bytes()).await.unwrap();
    }
    assert_eq!(client.get("celery-task-meta-task").await, Some(envelope("SUCCESS", "task")));
}

#[tokio::test]
async fn a_state_is_found_wherever_its_writer_put_it_and_a_word_in_the_result_is_none() {
    let (_redis, backend, client) = start().await;
    let last = r#"{"task_id":"task","result":[NaN,1e400],"status":"SUCCESS"}"#;
    let inner = r#"{"result": {"status": "SUCCESS"}, "status": "FAILURE"}"#;
    for (stored, stays) in [(last, true), (inner, false), ("\u{1}no JSON", false), ("[]", false)] {
        client.run::<()>(&["SET", "celery-task-meta-task", stored]).await;
        backend.store("task", "FAILURE", envelope("FAILURE", "task").as_bytes()).await.unwrap();
        assert_eq!(client.get("celery-task-meta-task").await.as_deref() == Some(stored), stays, "{stored}");
    }
}

#[tokio::test]
async fn a_revocation_is_stored_only_over_what_comes_before_the_start() {
    let (_redis, backend, client) = start().await;
    let revoked = envelope("REVOKED", "task");
    backend.store_revoked("unknown", revoked.as_bytes()).await.unwrap();
    assert_eq!(client.get("celery-task-meta-unknown").await, Some(revoked.clone()));
    for (state, replaced) in [
        ("PENDING", true),
        ("RECEIVED", true),
        ("RETRY", true),
        ("REJECTED", true),
        ("STARTED", false),
        ("SUCCESS", false),
        ("FAILURE", false),
        ("PROGRESS", false),
    ] {
        client.run::<()>(&["SET", "celery-task-meta-task", &envelope(state, "task")]).await;
        backend.store_revoked("task", revoked.as_bytes()).await.unwrap();
        assert_eq!(client.get("celery-task-meta-task").await == Some(revoked.clone()), replaced, "{state}");
    }
}

#[tokio::test]
async fn failures_expire_by_their_own_time_and_what_has_none_stays() {
    let (redis, _, client) = start().await;
    let hour = Some(Duration::from_secs(3600));
    let some = Backend::connect(Options { failure_expires: hour, ..options(&redis) }).unwrap();
    let none = Backend::connect(Options { expires: None, ..options(&redis) }).unwrap();
    some.store("f", "FAILURE", b"{}").await.unwrap();
    some.store("s", "SUCCESS", b"{}").await.unwrap();
    none.store("n", "SUCCESS", b"{}").await.unwrap();
    none.begin_chord("g", 2, None).await.unwrap();
    let part = Part { group: "g", id: "a", index: Some(0), member: "[]" };
    assert_eq!(none.chord_part(&part).await.unwrap(), Counted::Waiting);
    let ttl = async |key: &str| client.run::<i64>(&["TTL", key]).await;
    assert!((3540..=3600).contains(&ttl("celery-task-meta-f").await));
    assert!(ttl("celery-task-meta-s").await > 3600);
    for key in ["celery-task-meta-n", "celery-taskset-meta-g.s", "celery-taskset-meta-g.j"] {
        assert_eq!(ttl(key).await, -1, "{key}");
    }
}

#[tokio::test]
async fn a_result_is_gone_after_its_time() {
    let (redis, _, client) = start().await;
    let short = Backend::connect(Options { expires: Some(Duration::from_secs(1)), ..options(&redis) }).unwrap();
    short.store("task", "SUCCESS", b"{}").await.unwrap();
    let gone = async || client.get("celery-task-meta-task").await.is_none();
    crate::harness::eventually::eventually("the result expires", PATIENCE, gone).await;
}

#[tokio::test]
async fn a_prefix_stands_before_every_key_as_celery_puts_it() {
    let (redis, _, client) = start().await;
    let backend = Backend::connect(Options { key_prefix: "shop".to_owned(), ..options(&redis) }).unwrap();
    backend.store("task", "SUCCESS", b"{}").await.unwrap();
    backend.begin_chord("group", 2, None).await.unwrap();
    let mut keys: Vec<String> = client.run(&["KEYS", "*"]).await;
    keys.sort();
    assert_eq!(keys, ["shop_celery-task-meta-task", "shop_celery-taskset-meta-group.s"]);
}
