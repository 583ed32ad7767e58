//! What `docs/limits.md` says is held against the configuration: its keys, their defaults, and the sums of its formula.

use crate::harness::source::read;
use serde_json::Value;
use switchboard::config::{Config, File, Inputs, load, schema};

fn page() -> String {
    read("docs/limits.md")
}

/// Every text between backticks that is written like a key: `section.key`.
fn keys(page: &str) -> Vec<&str> {
    let sections = ["amqp", "mqtt", "worker", "bulk", "http", "celery", "log"];
    let quoted = page.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.split_once('.').is_some_and(|(section, _)| sections.contains(&section))).collect()
}

fn in_schema<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    schema.pointer(&format!("/properties/{}", key.replace('.', "/properties/")))
}

fn config(text: &str) -> Config {
    let file = Some(File { path: "limits.md".into(), text: text.to_owned() });
    load(&Inputs { file, ..Inputs::default() }).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Asserts that the page says this.
fn says(page: &str, sentence: &str) {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain(page).contains(&plain(sentence)), "docs/limits.md does not say: {sentence}");
}

#[test]
fn every_key_that_the_page_names_exists_and_has_that_default() {
    let (page, schema) = (page(), schema());
    let keys = keys(&page);
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        assert!(in_schema(&schema, key).is_some(), "docs/limits.md names {key}, which is no key of the configuration");
    }
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")).map(|row| row.split(" | ").collect::<Vec<_>>());
    let mut compared = 0;
    for row in rows.filter(|row| row.len() == 5) {
        let (Some(key), stated) = (row[1].trim().strip_prefix('`').and_then(|key| key.strip_suffix('`')), row[2])
        else {
            continue;
        };
        let default = in_schema(&schema, key).unwrap_or_else(|| panic!("{key}")).get("default");
        match default {
            Some(Value::String(text)) => assert_eq!(stated, text, "{key}"),
            Some(default) => assert_eq!(stated.replace(',', ""), default.to_string(), "{key}"),
            // Another key stands in for it.
            None => assert!(keys_in(stated, &schema), "{key} has no default, and the page says {stated}"),
        }
        compared += 1;
    }
    assert!(compared >= 20, "{compared} rows");
}

fn keys_in(text: &str, schema: &Value) -> bool {
    keys(text).iter().any(|key| in_schema(schema, key).is_some())
}

#[test]
fn every_number_that_costs_memory_is_on_the_page() {
    let page = page();
    let named = keys(&page);
    for section in ["amqp", "mqtt", "worker", "bulk"] {
        let schema = schema();
        let keys = schema["properties"][section]["properties"].as_object().unwrap();
        for (key, _) in keys.iter().filter(|(_, schema)| schema["type"] == "integer") {
            let key = format!("{section}.{key}");
            assert!(named.contains(&key.as_str()), "docs/limits.md says nothing of {key}");
        }
    }
}

#[test]
fn the_sums_of_the_page_are_those_of_the_program() {
    let page = page();
    says(&page, &format!("With the defaults it is {}.", config("").memory()));
    let examples: Vec<_> = page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).collect();
    assert_eq!(examples.len(), 2);
    for (example, after) in examples {
        let after = after.split("```").next().unwrap();
        says(after, &format!("A worker with these limits needs at most {}.", config(example).memory()));
    }
    // Each term, with its numbers.
    for part in config("").memory().parts() {
        says(&page, &format!("| {} | {} | {} |", part.what, thousands(part.count), thousands(part.each)));
    }
}

/// With a comma between each three digits, as the pages write numbers.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}
