//! What `docs/scaling.md` says is held against the program: its keys and metrics, its bounds, its sums, its measured figures.

use crate::harness::source::read;
use crate::limits::thousands;
use switchboard::config::{Config, Inputs, load, schema};
use switchboard::metrics::NAMES;

fn page() -> String {
    read("docs/scaling.md")
}

fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

fn defaults() -> Config {
    load(&Inputs::default()).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Asserts that the page says this, wherever its lines end.
fn says(page: &str, words: &str) {
    let plain = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(plain.contains(words), "docs/scaling.md does not say: {words}");
}

/// Asserts that the page has a row with these cells, whatever follows them.
fn has_row(page: &str, cells: &[&str]) {
    let begin = format!("| {} |", cells.join(" | "));
    assert!(page.lines().any(|line| line.starts_with(&begin)), "docs/scaling.md has no row {begin}");
}

#[test]
fn every_key_that_the_page_names_is_a_key() {
    let (page, schema) = (page(), schema());
    let sections = schema["properties"].as_object().unwrap();
    let mut found = 0;
    for text in quoted(&page) {
        let key = text.split(' ').next().unwrap();
        let Some((section, name)) = key.split_once('.').filter(|(section, _)| sections.contains_key(*section)) else {
            continue;
        };
        assert!(sections[section]["properties"].get(name).is_some(), "docs/scaling.md names {key}, which is no key");
        found += 1;
    }
    assert!(found > 20, "{found} keys");
}

#[test]
fn every_metric_that_the_page_names_exists() {
    let page = page();
    let named: Vec<&str> = quoted(&page).filter(|text| text.starts_with("switchboard_")).collect();
    assert!(named.len() > 5, "{named:?}");
    for name in named {
        assert!(NAMES.contains(&name), "docs/scaling.md names {name}, which is no metric");
    }
}

#[test]
fn bounds_that_follow_the_rate_are_what_the_defaults_make() {
    let (page, worker) = (page(), defaults().worker);
    let per_second = |ids: usize, seconds: u64| u64::try_from(ids).unwrap() / seconds;
    let claims = per_second(worker.claim_ids, worker.claim_window.as_secs());
    assert_eq!(worker.claim_window.as_secs(), 3600, "the page says one hour");
    for (key, bound) in [
        ("worker.claim_ids", format!("{claims} a second over one hour")),
        ("worker.claim_log_bytes", {
            let each = worker.claim_log_bytes / u64::try_from(worker.claim_ids).unwrap();
            format!("{} bytes for each of `worker.claim_ids`", thousands(each))
        }),
        ("worker.late_ids", format!("{} a second", per_second(worker.late_ids, worker.late_grace.as_secs()))),
        ("worker.recent_ids", format!("{} a second", per_second(worker.recent_ids, 20))),
        ("worker.breaker_devices", thousands(worker.breaker_devices as u64)),
        ("worker.bulk_devices", thousands(worker.bulk_devices as u64)),
    ] {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/scaling.md has no row for {key}"));
        assert!(row.ends_with(&format!("| {bound} |")), "{key}: not {bound} in {row}");
    }
}

#[test]
fn the_example_adds_up() {
    let (page, concurrency) = (page(), defaults().worker.concurrency as f64);
    let (rate, time) = (5000.0, 0.99 * 0.4 + 0.01 * 10.0);
    let window: f64 = rate * time;
    has_row(&page, &["time", "0.99 × 0.4 s + 0.01 × 10 s", &format!("{time:.3} s")]);
    has_row(&page, &["window", "5,000 × 0.496", &thousands(window.round() as u64)]);
    let by_window = (window / (0.7 * concurrency)).ceil();
    has_row(&page, &["replicas by the window", "2,480 / (0.7 × 1,000)", &by_window.to_string()]);
    has_row(&page, &["replicas by the processor", "5,000 × 0.086 ms / 0.7", "1"]);
    assert!(rate * 0.086e-3 / 0.7 <= 1.0);
    let cores = |milliseconds: f64| format!("{:.1}", rate * milliseconds / 1e3);
    says(&page, &format!("| {} cores |", cores(0.121)));
    says(&page, &format!("| {} of one", cores(0.087)));
    let slots = 4.0 * defaults().worker.bulk_concurrency as f64 / time;
    says(&page, &format!("{:.1} s by the slots, and {} commands", 1e5 / slots, thousands(slots.round() as u64)));
}

#[test]
fn figures_that_were_measured_are_those_of_the_table_of_guarantees() {
    let (page, failures) = (page(), read("docs/failures.md"));
    let cells = |name: &str| -> Vec<String> {
        let row = failures.lines().find(|line| line.starts_with(&format!("| {name} |")));
        row.unwrap_or_else(|| panic!("docs/failures.md has no row {name}"))
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_end_matches(" ms").to_owned())
            .collect()
    };
    let (default, claims) = (cells("default"), cells("with claims"));
    has_row(&page, &["worker, in a run of its own with and without claims", &default[2], "M"]);
    has_row(&page, &["with `worker.claims`, in that run", &claims[2], "M"]);
    has_row(&page, &["RabbitMQ in that run", &default[3], "M"]);
    has_row(&page, &["RabbitMQ in that run, with `worker.claims`", &claims[3], "M"]);
    says(&page, &format!("{} jobs a second with everything", default[1]));
}

#[test]
fn the_demonstration_is_told_as_it_is() {
    let (page, options) = (page(), switchboard::demo::scale::Options::default());
    let [fastest, slowest] = [options.behaviour.fastest, options.behaviour.slowest].map(|time| time.as_millis());
    let sentence = format!(
        "{} jobs, devices that take {fastest} to {slowest} ms, {} under way",
        thousands(options.jobs as u64),
        options.concurrency
    );
    says(&page, &sentence);
    let latency = (fastest + slowest) as f64 / 2e3;
    for replicas in options.replicas {
        let most = (replicas * options.concurrency) as f64 / latency;
        let row = page.lines().find(|line| line.starts_with(&format!("| {replicas} | ")));
        let cells: Vec<&str> = row.unwrap().trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.get(3), Some(&format!("{most:.0}").as_str()), "{replicas}: {row:?}");
    }
}
