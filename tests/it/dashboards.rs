//! Dashboards and metrics agree: nothing is charted that does not exist, and nothing that exists is left out.

use crate::harness::source;
use serde_json::Value;
use std::collections::BTreeSet;
use switchboard::metrics::{CATALOGUE, Kind};

/// Every query of a dashboard: those of the panels, and those that fill its variables.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(text) if name == "expr" || name == "query" => found.push(text.clone()),
                    other => queries(other, found),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| queries(element, found)),
        _ => {}
    }
}

/// The metric that a name in a query belongs to: a histogram is asked for by its parts.
fn metric_of(name: &str) -> Option<&'static str> {
    let entry = CATALOGUE.iter().find(|entry| {
        let part = name.strip_prefix(entry.name);
        match entry.kind {
            Kind::Histogram => part.is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part)),
            Kind::Counter | Kind::Gauge => part == Some(""),
        }
    });
    entry.map(|entry| entry.name)
}

fn names_in(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words.filter(|word| word.starts_with("switchboard_"))
}

#[test]
fn every_metric_is_charted_and_every_charted_metric_exists() {
    let dashboards: Vec<String> = source::project_files()
        .into_iter()
        .filter(|path| path.starts_with("dashboards/") && path.ends_with(".json"))
        .collect();
    assert!(!dashboards.is_empty());
    let mut charted = BTreeSet::new();
    for path in dashboards {
        let dashboard: Value = serde_json::from_str(&source::read(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut found = Vec::new();
        queries(&dashboard, &mut found);
        for query in &found {
            for name in names_in(query) {
                let metric = metric_of(name);
                charted.insert(metric.unwrap_or_else(|| panic!("{path}: {name} is no metric, in the query {query}")));
            }
        }
    }
    let forgotten: Vec<&str> =
        CATALOGUE.iter().map(|entry| entry.name).filter(|name| !charted.contains(name)).collect();
    assert!(forgotten.is_empty(), "on no dashboard: {forgotten:?}");
}

#[test]
fn the_panels_of_a_dashboard_have_ids_of_their_own_and_say_why_they_are_there() {
    let dashboard: Value = serde_json::from_str(&source::read("dashboards/switchboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["description"].as_str().is_some_and(|why| why.len() > 20), "{}", panel["title"]);
    }
}
