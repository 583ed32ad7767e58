//! The page of failures and the README's promises name tests, and each test that they name exists.

use crate::harness::source;
use std::collections::BTreeSet;

const PAGE: &str = "docs/failures.md";
/// The rows, by their letters and how many there are of each.
const ROWS: [(&str, usize); 9] =
    [("A", 10), ("B", 6), ("C", 9), ("D", 7), ("K", 12), ("P", 7), ("G", 5), ("R", 6), ("S", 9)];
/// Rows that no test shows. An entry that is not needed any more fails, so the list only shrinks.
const WITHOUT: &[&str] = &["D6"];

/// Every function that is marked as a test, in the whole project.
pub(crate) fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for file in source::files().into_iter().chain(source::test_files()) {
        let mut marked = false;
        for line in file.text.lines().map(str::trim) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some((_, after)) = line.split_once("fn ").filter(|_| marked) {
                tests.extend(after.split(['(', '<']).next().map(str::to_owned));
                marked = false;
            }
        }
    }
    assert!(tests.len() > 100, "{} tests were found", tests.len());
    tests
}

/// The rows of the page: each name, and the tests that its last column names.
fn rows() -> Vec<(String, Vec<String>)> {
    let page = source::read(PAGE);
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        // Other tables of the page, and the heads of these, begin otherwise.
        if !cells[0].starts_with(|first: char| first.is_ascii_uppercase()) {
            continue;
        }
        assert_eq!(cells.len(), 6, "{PAGE}: {line}");
        // Between backticks: every other part.
        let named = cells[5].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        rows.push((cells[0].to_owned(), named));
    }
    rows
}

#[test]
fn every_failure_has_its_row() {
    let expected = ROWS.iter().flat_map(|(letter, count)| (1..=*count).map(move |n| format!("{letter}{n}")));
    let rows: Vec<String> = rows().into_iter().map(|(row, _)| row).collect();
    assert_eq!(rows, expected.collect::<Vec<_>>());
}

#[test]
fn every_row_names_tests_that_exist() {
    let tests = tests();
    for (row, named) in rows() {
        for name in &named {
            assert!(tests.contains(name), "{PAGE}, row {row}: there is no test {name}");
        }
        assert_eq!(named.is_empty(), WITHOUT.contains(&row.as_str()), "{PAGE}, row {row}: tests {named:?}");
    }
}

#[test]
fn every_promise_names_tests_that_exist() {
    let (tests, readme) = (tests(), source::read("README.md"));
    let table = readme.split_once("| promise | tests |").expect("the README has a table of promises").1;
    let mut promises = 0;
    for line in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let named: Vec<&str> = line.rsplit('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test tries it: {line}");
        for name in named {
            assert!(tests.contains(name), "README.md: there is no test {name}");
        }
        promises += 1;
    }
    assert!(promises >= 10, "{promises} promises");
}
