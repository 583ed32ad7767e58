//! The two documents made from the table of keys: the commented file and the JSON Schema.

use super::keys::{KEYS, Key, SECTIONS};
use super::schedules;
use super::tasks;
use serde_json::{Map, Value as Json, json};
use std::fmt::Write;

/// Every key with its meaning and default, all of them commented out: a file that changes nothing.
pub fn commented_file() -> String {
    let mut text = String::from(
        "# Every key of the configuration, with its default. What is commented out is in force all the same.\n\
         # Order: defaults, then this file, then the environment (SWITCHBOARD__AMQP__QUEUE=…), then flags.\n",
    );
    for (section, about) in SECTIONS {
        let _ = write!(text, "\n# {about}\n[{section}]\n");
        for key in KEYS.iter().filter(|key| key.section() == section) {
            let _ = write!(text, "\n# {}\n{}\n", key.doc.replace('\n', "\n# "), example(key));
        }
    }
    text.push_str(
        "\n# A device dialect. Each key is laid over the built-in profile of that name, so this changes just one of them.\n\
         # [profiles.default]\n# qos = 0\n\
         \n# A task of the application's own, and the command that it stands for. A text may have gaps, {name}, for arguments;\n\
         # in the payload a text that is one gap becomes the argument itself, number or list.\n\
         # [celery.tasks.\"garage.tasks.open_door\"]\n\
         # args = [\"door\", \"speed\"]          # by position or name; \"device\" and \"payload\" where not set\n\
         # kwargs = [\"force\"]                # by name alone\n\
         # defaults = { speed = 1, force = false }\n\
         # ignore = [\"verbose\"]              # accepted, and means nothing\n\
         # command = \"open\"\n\
         # device = \"garage-{door}\"          # \"{device}\" where not set; or devices = \"{doors}\" for a list\n\
         # payload = { speed = \"{speed}\", force = \"{force}\", source = \"web\" }\n\
         # profile = \"default\"\n\
         # mode = \"request\"                  # or \"publish\"\n\
         # timeout = \"5s\"                    # or \"{timeout}\", in seconds\n\
         # guarantee = \"at_most_once\"        # or \"at_least_once\"\n\
         # result = \"answer\"                 # or \"none\"; \"summary\" or \"none\" for devices\n\
         # bulk = { rate = 200, concurrency = 100, abort = \"20%:100\" }   # for devices\n\
         \n# Jobs at set times. Whichever worker fires one, it fires once, with the id name@instant.\n\
         # [[schedules]]\n\
         # name = \"nightly\"                # its own: letters, digits, \"_\", \".\", \"-\"\n\
         # cron = \"0 3 * * *\"              # minute hour day month weekday, seconds before them if six; or every = \"1h\"\n\
         # timezone = \"Europe/Berlin\"      # \"UTC\" where not set; every always counts in UTC\n\
         # misfire = \"once\"                # of fires late by more than grace the latest fires; or \"skip\": none does\n\
         # grace = \"60s\"\n\
         # catch_up = \"1h\"                 # what is later than this has lapsed\n\
         # overlap = \"skip\"                # while the fire before runs; or \"allow\", \"queue\" (one waits), \"cancel\" (it ends)\n\
         # jitter = \"0s\"                   # put off by up to this, always the same for one fire\n\
         # enabled = true\n\
         # reply_to = \"results\"            # a queue; with none the results are counted and logged\n\
         # job = { device = \"garage-7\", command = \"close\" }   # the fields of a job but id, not_before, expires_at; besides\n\
         #                                  # device, devices, targets also devices_file = \"fleet.txt\", devices_online = true\n",
    );
    text
}

fn example(key: &Key) -> String {
    match key.default {
        Some(default) => format!("#{} = {default}", key.name()),
        None => format!("#{} =", key.name()),
    }
}

/// The JSON Schema of a configuration file.
pub fn schema() -> Json {
    let mut sections = Map::new();
    for (section, about) in SECTIONS {
        let mut keys = Map::new();
        for key in KEYS.iter().filter(|key| key.section() == section) {
            keys.insert(key.name().to_owned(), key_schema(key));
        }
        let schema = json!({"type": "object", "description": about, "properties": keys, "additionalProperties": false});
        match section.split_once('.') {
            // A section within a section stands after it in the list.
            Some((outer, inner)) => sections[outer]["properties"][inner] = schema,
            None => drop(sections.insert(section.to_owned(), schema)),
        }
    }
    let profiles = json!({
        "type": "object",
        "description": "Device dialects by name; each key is laid over the built-in profile of that name.",
        "additionalProperties": {"type": "object"},
    });
    sections["celery"]["properties"]["tasks"]["additionalProperties"] = tasks::schema();
    sections.insert("profiles".into(), profiles);
    sections.insert("schedules".into(), schedules::schema());
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Switchboard configuration",
        "type": "object",
        "properties": sections,
        "additionalProperties": false,
    })
}

fn key_schema(key: &Key) -> Json {
    let mut schema = key.kind.schema();
    schema["description"] = key.doc.replace('\n', " ").into();
    let default = key.default.and_then(|default| format!("x = {default}").parse::<toml::Table>().ok());
    if let Some(default) = default.and_then(|table| serde_json::to_value(&table["x"]).ok()) {
        schema["default"] = default;
    }
    schema
}
