//! The form of `[[schedules]]`, which this version knows and does not serve.

use super::duration;
use super::kind::describe;
use super::suggest::nearest;
use serde_json::{Value as Json, json};
use toml::Value;

/// The keys of one schedule.
const NAMES: [&str; 6] = ["name", "cron", "every", "timezone", "misfire", "job"];

/// Every problem as key and sentence; where the form is right, that schedules are not served.
pub(super) fn check(value: &Value) -> Vec<(String, String)> {
    let Value::Array(schedules) = value else {
        return vec![(
            "schedules".into(),
            format!("is {}; right is [[schedules]] with its keys below, once for each", describe(value)),
        )];
    };
    let mut problems = Vec::new();
    for (index, schedule) in schedules.iter().enumerate() {
        let name = schedule.get("name").and_then(Value::as_str);
        let at = name.map_or_else(|| format!("schedules[{index}]"), |name| format!("schedules.{name}"));
        problems.extend(check_one(schedule).into_iter().map(|(key, problem)| match key {
            "" => (at.clone(), problem),
            key => (format!("{at}.{key}"), problem),
        }));
    }
    if problems.is_empty() && !schedules.is_empty() {
        problems.push(("schedules".into(), "is not served by this version; right is to leave it out".into()));
    }
    problems
}

fn check_one(schedule: &Value) -> Vec<(&str, String)> {
    let Value::Table(table) = schedule else {
        return vec![("", format!("is {}; right is a table", describe(schedule)))];
    };
    let mut problems = Vec::new();
    for (key, value) in table {
        let is_right = match key.as_str() {
            "name" | "cron" | "timezone" => value.as_str().is_some_and(|text| !text.is_empty()),
            "every" => value.as_str().is_some_and(|text| duration::parse(text).is_ok()),
            "misfire" => matches!(value.as_str(), Some("skip" | "once")),
            "job" => value.is_table(),
            _ => {
                let meant = nearest(key, NAMES.into_iter())
                    .map_or_else(|| format!("there are {}", NAMES.join(", ")), |name| format!("did you mean {name}?"));
                problems.push((key.as_str(), format!("is no key of a schedule; {meant}")));
                continue;
            }
        };
        if !is_right {
            let right = match key.as_str() {
                "every" => "a duration, such as \"5m\" or \"1h\"",
                "misfire" => "\"skip\" or \"once\"",
                "job" => "a table with the fields of a job",
                _ => "a text",
            };
            problems.push((key.as_str(), format!("is {}; right is {right}", describe(value))));
        }
    }
    problems.extend(
        ["name", "job"].into_iter().filter(|key| !table.contains_key(*key)).map(|key| (key, "is missing".to_owned())),
    );
    if table.contains_key("cron") == table.contains_key("every") {
        problems.push(("", "needs either cron or every, and just one of them".into()));
    }
    problems
}

/// The JSON Schema of `[[schedules]]`.
pub(super) fn schema() -> Json {
    let text = json!({"type": "string", "minLength": 1});
    json!({
        "type": "array",
        "description": "Jobs sent at set times. Not served by this version.",
        "items": {
            "type": "object",
            "properties": {
                "name": text, "cron": text, "timezone": text,
                "every": {"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"},
                "misfire": {"type": "string", "enum": ["skip", "once"]},
                "job": {"type": "object"},
            },
            "required": ["name", "job"],
            "additionalProperties": false,
        },
    })
}
