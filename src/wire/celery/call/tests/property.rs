//! No arguments whatever make reading a call panic, and what is refused is refused by an exception that says why.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Any JSON, with a liking for what our parameters take.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["20%:100", "%:", "at_most_once", "{door}", "\u{e000}NaN", "d"]).prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec!["device", "payload", "failed_percent", "after", "__type__", "__value__"])
            .prop_map(str::to_owned),
        ".{0,4}",
    ];
    leaf.prop_recursive(3, 16, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            vec((name.clone(), inner), 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn names() -> impl Strategy<Value = String> {
    let known = [
        "device",
        "devices",
        "command",
        "payload",
        "profile",
        "timeout",
        "guarantee",
        "rate",
        "concurrency",
        "abort",
        "door",
        "speed",
    ];
    prop_oneof![4 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,6}"]
}

fn calls() -> Calls {
    let mapping = |devices: Option<&str>| Mapping {
        args: Some(vec!["door".into(), "speed".into()]),
        command: "c{speed}".into(),
        device: devices.is_none().then(|| "{door}".to_owned()),
        devices: devices.map(str::to_owned),
        payload: Some(json!(["{speed}", {"x": "a{door}"}])),
        timeout: Some(Wait::Argument("{speed}".into())),
        ..Mapping::default()
    };
    let one = Mapped::compile("one", &mapping(None)).unwrap();
    Calls::new(vec![one, Mapped::compile("many", &mapping(Some("{door}"))).unwrap()])
}

/// What [`no_arguments_make_it_panic`] came upon once in some thousands of its runs.
#[test]
fn a_typed_value_that_is_none_is_refused_as_kombu_does() {
    let mut task = task("switchboard.request", "[]", "{}");
    task.args = vec![raw(r#"{"__type__": null, "__value__": null}"#), raw("null")];
    let exception = calls().read(&task, &LIMITS).unwrap_err();
    assert_eq!((&*exception.module, &*exception.kind), ("kombu.exceptions", "DecodeError"));
}

proptest! {
    #[test]
    fn no_arguments_make_it_panic(
        name in prop::sample::select(vec!["switchboard.request", "switchboard.publish", "switchboard.bulk", "one", "many"]),
        args in vec(value(), 0..5),
        kwargs in vec((names(), value()), 0..5),
    ) {
        let mut task = task(name, "[]", "{}");
        task.args = args.iter().map(|value| raw(&value.to_string())).collect();
        task.kwargs = kwargs.iter().map(|(name, value)| (name.clone(), raw(&value.to_string()))).collect();
        if let Err(exception) = calls().read(&task, &LIMITS) {
            // A typed value that is none is kombu's own complaint, whoever comes upon it.
            let is_typed = format!("{args:?}{kwargs:?}").contains("__type__");
            let module = &*exception.module;
            prop_assert!(module == "switchboard.exceptions" || is_typed && module == "kombu.exceptions", "{}", module);
            prop_assert!(exception.args[0].as_str().is_some_and(|text| !text.is_empty() && text.len() < 2_000));
        }
    }

    #[test]
    fn no_text_makes_the_reading_of_a_template_panic(text in "[{}a-z \u{fc}]{0,12}", payload in value()) {
        let mapping = Mapping {
            command: text.clone(),
            device: Some(text),
            payload: Some(payload),
            ..Mapping::default()
        };
        if let Err(problems) = Mapped::compile("t", &mapping) {
            prop_assert!(!problems.is_empty());
        }
    }
}
