//! The JSON Schema of `[[schedules]]`.

use crate::schedule::{MAX_NAME_BYTES, Misfire, Overlap};
use serde_json::{Value as Json, json};

/// The JSON Schema of `[[schedules]]`.
pub(in crate::config) fn schema() -> Json {
    let text = json!({"type": "string", "minLength": 1});
    let time = |default: &str, about: &str| json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "default": default, "description": about});
    json!({
        "type": "array",
        "description": "Jobs at set times.",
        "items": {
            "type": "object",
            "properties": {
                "name": {
                    "type": "string",
                    "pattern": format!("^[A-Za-z0-9_.-]{{1,{MAX_NAME_BYTES}}}$"),
                    "description": "Its own; a fire's id is name@instant.",
                },
                "cron": {
                    "type": "string",
                    "minLength": 1,
                    "description": "5 fields, minute hour day month weekday, or 6 with the seconds first.",
                },
                "every": {
                    "type": "string",
                    "pattern": "^[0-9]+(ms|s|m|h|d)$",
                    "description": "Instead of cron: an interval from 1s, counted from the Unix epoch.",
                },
                "timezone": {
                    "type": "string",
                    "minLength": 1,
                    "default": "UTC",
                    "description": "Whose clock cron goes by: a name of the IANA database.",
                },
                "misfire": {
                    "type": "string",
                    "enum": Misfire::ALL.map(Misfire::as_str),
                    "default": Misfire::default().as_str(),
                    "description": "What becomes of fires that are late by more than grace: they lapse, or the latest of them fires.",
                },
                "grace": time("60s", "How late a fire may be and still be on time."),
                "catch_up": time("1h", "How late a fire may be and still be made up for."),
                "overlap": {
                    "type": "string",
                    "enum": Overlap::ALL.map(Overlap::as_str),
                    "default": Overlap::default().as_str(),
                    "description": "What becomes of a fire while the one before still runs.",
                },
                "jitter": time("0s", "By how much a fire is put off at most; how much, its id decides."),
                "enabled": {"type": "boolean", "default": true, "description": "Whether it fires at all."},
                "reply_to": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "description": "The queue for its results; with none they are counted and logged.",
                },
                "job": {
                    "type": "object",
                    "description": "The fields of a job, and two more sources of devices. Exactly one source.",
                    "properties": {
                        "device": text, "devices": {"type": "array", "items": text, "minItems": 1},
                        "targets": {"type": "array", "items": {"type": "object"}, "minItems": 1},
                        "devices_file": {
                            "type": "string",
                            "minLength": 1,
                            "description": "A file with a device a line, as switchboard bulk takes it; read for every fire.",
                        },
                        "devices_online": {
                            "type": "boolean",
                            "enum": [true],
                            "description": "All devices of the profile that say, retained, that they are there.",
                        },
                        "command": text, "payload": {}, "mode": {"type": "string", "enum": ["request", "publish"]},
                        "profile": text, "timeout_ms": {"type": "integer", "minimum": 1},
                        "guarantee": {"type": "string", "enum": ["at_most_once", "at_least_once"]},
                        "bulk": {"type": "object"},
                    },
                    "required": ["command"],
                    "additionalProperties": false,
                },
            },
            "required": ["name", "job"],
            "additionalProperties": false,
        },
    })
}
