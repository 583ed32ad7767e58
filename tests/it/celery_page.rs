//! The page about Celery: each line of its table names tests that exist, and each key that it names is one.

use crate::failures;
use crate::harness::source;

const PAGE: &str = "docs/celery.md";

#[test]
fn every_line_of_what_is_served_names_tests_that_exist() {
    let (tests, page) = (failures::tests(), source::read(PAGE));
    let table = page.split_once("| of Celery | served | tests |").expect("the page has its table").1;
    let mut rows = 0;
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{PAGE}: {line}");
        let verdict = ["yes", "refused", "not possible"].iter().any(|word| cells[1].starts_with(word));
        assert!(verdict, "{PAGE}: neither served nor refused: {line}");
        let named: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{PAGE}: no test tries it: {line}");
        for name in named {
            assert!(tests.contains(name), "{PAGE}: there is no test {name}");
        }
        rows += 1;
    }
    assert!(rows >= 25, "{rows} rows");
}

#[test]
fn every_test_with_the_real_celery_is_named_on_the_page() {
    let page = source::read(PAGE);
    let files = ["answers", "canvas", "monitors", "queues", "redis", "revoke", "storm", "times", "tools", "wire"];
    for file in files {
        let text = source::read(&format!("tests/it/celery_{file}.rs"));
        let names = text.lines().filter_map(|line| line.strip_prefix("async fn ")?.split_once("() {"));
        let missing: Vec<&str> =
            names.map(|(name, _)| name).filter(|name| !page.contains(&format!("`{name}`"))).collect();
        assert!(missing.is_empty(), "{PAGE} does not name {missing:?} of tests/it/celery_{file}.rs");
    }
}

#[test]
fn every_key_that_the_page_names_is_a_key() {
    let (page, keys) = (source::read(PAGE), source::read("config/switchboard.toml"));
    let keys = keys.split("[celery]").nth(1).expect("the configuration has its section");
    let named: Vec<&str> = page.split('`').skip(1).step_by(2).filter_map(|code| code.strip_prefix("celery.")).collect();
    let is_key = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let named: Vec<&str> = named.into_iter().filter(is_key).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let task = ["map", "starmap", "chunks", "chord_unlock"].contains(&name);
        assert!(task || keys.contains(&format!("\n#{name} =")), "{PAGE} names celery.{name}, which is no key");
    }
}
