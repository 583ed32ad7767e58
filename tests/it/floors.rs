//! The house's rules that no compiler checks: who may import whom, where each foreign crate lives, how long a file may be.

use crate::harness::source::{self, SourceFile};
use std::collections::{BTreeMap, BTreeSet};

/// Words, without I/O: what every floor speaks.
const GROUND: &[&str] = &["deadline", "envelope", "excerpt", "job", "metrics", "outcome", "shutdown", "table", "topic"];
/// Wires. They never meet each other.
const WIRES: &[&str] = &["amqp", "backend", "mqtt", "telemetry"];
const MEANING: &[&str] = &["commander", "profile", "wire"];
const WORK: &[&str] = &["bulk", "claims", "node", "schedule", "worker"];

/// Each module, and which ones it may use besides itself. A lower floor never knows an upper one.
fn may_use() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        // Ground floor.
        ("deadline", vec![]),
        ("envelope", vec![]),
        ("excerpt", vec![]),
        ("job", vec!["topic"]),
        ("metrics", vec!["job", "outcome"]),
        ("outcome", vec![]),
        ("shutdown", vec![]),
        ("table", vec![]),
        ("topic", vec![]),
        // First floor; what the wires have together.
        ("tls", vec![]),
        ("amqp", vec!["deadline", "envelope", "excerpt", "metrics", "shutdown", "table", "tls"]),
        ("backend", vec!["deadline", "excerpt", "metrics", "shutdown", "tls"]),
        ("mqtt", vec!["deadline", "excerpt", "metrics", "shutdown", "table", "tls", "topic"]),
        ("telemetry", vec!["job", "metrics", "outcome", "shutdown"]),
        // Second floor.
        ("profile", vec!["deadline", "excerpt", "job", "outcome", "topic"]),
        ("wire", vec!["deadline", "envelope", "excerpt", "job", "outcome", "topic"]),
        ("commander", [GROUND, &["mqtt", "profile"]].concat()),
        // Third floor. Not `telemetry`: what is counted is counted through `metrics`.
        ("claims", [GROUND, &["amqp", "wire"]].concat()),
        ("node", [GROUND, &["amqp", "wire"]].concat()),
        ("schedule", [GROUND, MEANING].concat()),
        ("bulk", [GROUND, MEANING, &["amqp", "mqtt", "claims", "schedule"]].concat()),
        ("worker", [GROUND, MEANING, &["amqp", "backend", "mqtt", "claims", "bulk", "node"]].concat()),
        // Roof.
        ("config", [GROUND, WIRES, MEANING, WORK].concat()),
        ("app", [GROUND, WIRES, MEANING, WORK, &["config"]].concat()),
        ("simulator", [GROUND, MEANING, &["mqtt"]].concat()),
        ("demo", [GROUND, WIRES, MEANING, WORK, &["config", "app", "simulator"]].concat()),
        ("cli", [GROUND, WIRES, MEANING, WORK, &["config", "app", "simulator", "demo"]].concat()),
        // The doors.
        ("lib", vec![]),
        ("main", vec!["cli"]),
    ])
}

/// What any file may use: the language's neighbours, and crates whose types are words.
const EVERYWHERE: &[&str] =
    &["bytes", "futures_util", "rand", "serde", "serde_json", "thiserror", "tokio", "tokio_util", "tracing"];

/// Where every other dependency lives: a file, or a folder with a slash at its end.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["src/main.rs", "src/app/", "src/cli/", "src/demo/"]),
    ("async_rs", &["src/amqp/"]),
    ("base64", &["src/cli/", "src/profile/", "src/wire/"]),
    ("brotli_decompressor", &["src/wire/celery/decode/"]),
    ("bzip2", &["src/wire/celery/decode/"]),
    ("clap", &["src/cli/"]),
    ("clap_complete", &["src/cli/"]),
    ("croner", &["src/schedule/"]),
    ("deadpool", &["src/amqp/"]),
    ("flate2", &["src/wire/celery/decode/"]),
    ("http_body_util", &["src/telemetry/"]),
    ("hyper", &["src/telemetry/"]),
    ("foldhash", &["src/table.rs"]),
    ("hyper_util", &["src/telemetry/"]),
    ("indicatif", &["src/cli/"]),
    ("itoa", &["src/profile/", "src/wire/native/"]),
    ("jiff", &["src/profile/", "src/wire/", "src/schedule/", "src/cli/"]),
    ("lapin", &["src/amqp/"]),
    ("lzma_rust2", &["src/wire/celery/decode/"]),
    ("memchr", &["src/wire/celery/"]),
    ("mimalloc", &["src/main.rs"]),
    ("metrics", &["src/metrics/"]),
    ("metrics_exporter_prometheus", &["src/telemetry/"]),
    ("redis", &["src/backend/"]),
    ("regex_lite", &["src/wire/celery/"]),
    ("rmp", &["src/wire/celery/decode/"]),
    ("rumqttc", &["src/mqtt/link.rs"]),
    ("rustix", &["src/amqp/dial.rs", "src/cli/scheduling.rs"]),
    ("rustls", &["src/tls.rs"]),
    ("rustls_native_certs", &["src/tls.rs"]),
    ("ruzstd", &["src/wire/celery/decode/"]),
    ("thread_priority", &["src/cli/scheduling.rs"]),
    ("tokio_rustls", &["src/tls.rs"]),
    ("tokio_tungstenite", &["src/mqtt/"]),
    ("toml", &["src/config/", "src/profile/", "src/commander/"]),
    ("tracing_subscriber", &["src/telemetry/"]),
    ("ulid", &["src/wire/", "src/commander/", "src/worker/", "src/bulk/", "src/schedule/", "src/cli/"]),
];

/// Lines that a file may have.
const LONGEST: usize = 400;

/// Files that are longer and are to be divided. An entry that is not needed any more fails, so the list only shrinks.
const TO_BE_DIVIDED: &[&str] = &[];

fn none(rule: &str, wrong: impl IntoIterator<Item = String>) {
    let wrong: BTreeSet<String> = wrong.into_iter().collect();
    let list: Vec<String> = wrong.into_iter().collect();
    assert!(list.is_empty(), "{rule}:\n  {}", list.join("\n  "));
}

#[test]
fn every_module_is_in_the_table_and_the_table_has_no_circle() {
    let table = may_use();
    let files = source::files();
    let unknown = files.iter().map(SourceFile::module).filter(|module| !table.contains_key(module.as_str()));
    none("not in the table of who may import whom (tests/it/floors.rs)", unknown);
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < table.len() {
        let next: Vec<&str> = table
            .iter()
            .filter(|(_, uses)| uses.iter().all(|used| settled.contains(used)))
            .map(|(module, _)| *module)
            .collect();
        let before = settled.len();
        settled.extend(next);
        assert!(settled.len() > before, "the table has a circle, or uses a module that it does not list");
    }
}

#[test]
fn a_module_imports_only_what_its_floor_allows() {
    let table = may_use();
    let mut wrong = Vec::new();
    for file in source::files() {
        let module = file.module();
        let allowed = table.get(module.as_str()).map_or(&[][..], Vec::as_slice);
        for used in file.modules_used(|name| table.contains_key(name)) {
            // `lib.rs` names every module: it is their list.
            if used != module && !allowed.contains(&used.as_str()) && module != "lib" {
                wrong.push(format!("{} uses {used}", file.path));
            }
        }
    }
    none("imports that the table of floors forbids", wrong);
}

#[test]
fn each_foreign_crate_stays_at_home() {
    let mut wrong = Vec::new();
    for file in source::files() {
        for (name, homes) in HOMES {
            let at_home =
                homes.iter().any(|home| file.path == *home || home.ends_with('/') && file.path.starts_with(home));
            if !at_home && file.uses_crate(name) {
                wrong.push(format!("{} uses {name}, whose home is {}", file.path, homes.join(", ")));
            }
        }
    }
    none("foreign crates away from home", wrong);
}

#[test]
fn every_dependency_has_a_home() {
    let manifest: toml::Table = source::read("Cargo.toml").parse().unwrap();
    let dependencies = manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_"));
    let homes: BTreeSet<&str> = HOMES.iter().map(|(name, _)| *name).chain(EVERYWHERE.iter().copied()).collect();
    none(
        "dependencies without a home in tests/it/floors.rs",
        dependencies.filter(|name| !homes.contains(name.as_str())),
    );
}

#[test]
fn every_file_says_in_its_first_line_what_it_is() {
    let silent = source::files().into_iter().chain(source::test_files());
    let silent = silent.filter(|file| !file.text.starts_with("//! ") || file.text.lines().next().unwrap().len() < 20);
    none("files whose first line is no `//! sentence`", silent.map(|file| file.path));
}

#[test]
fn no_file_is_too_long() {
    let mut wrong = Vec::new();
    for file in source::files().into_iter().chain(source::test_files()) {
        let lines = file.text.lines().count();
        let known = TO_BE_DIVIDED.contains(&file.path.as_str());
        if lines > LONGEST && !known {
            wrong.push(format!("{} has {lines} lines", file.path));
        }
        if lines <= LONGEST && known {
            wrong.push(format!("{} is short enough: take it off the list TO_BE_DIVIDED", file.path));
        }
    }
    none(&format!("files over {LONGEST} lines"), wrong);
}

#[test]
fn nothing_names_a_place_on_somebodys_machine() {
    // In halves, or this file would find itself.
    let places = [["/wo", "rk/"], ["/ho", "me/"], ["/ro", "ot/"], ["/Us", "ers/"], ["/tmp/", "sb"]]
        .map(|halves| halves.concat());
    let mut wrong = Vec::new();
    for path in source::project_files() {
        let text = source::read(&path);
        let found = text.lines().enumerate().filter(|(_, line)| places.iter().any(|place| line.contains(place)));
        wrong.extend(found.map(|(number, line)| format!("{path}:{}: {}", number + 1, line.trim())));
    }
    none("absolute paths of one machine", wrong);
}
