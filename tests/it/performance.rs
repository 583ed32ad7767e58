//! What `docs/performance.md` says of the bound on instructions is held against the count itself.

use crate::harness::source::read;

#[test]
fn the_bound_on_instructions_is_the_one_that_is_counted_against() {
    let (page, count) = (read("docs/performance.md"), read("benches/instructions/main.rs"));
    let bound = count.lines().find_map(|line| line.strip_prefix("const BOUND: u64 = ")).unwrap().trim_end_matches(';');
    let bound = bound.replace('_', ",");
    assert!(page.contains(&format!("at most **{bound}**")), "docs/performance.md does not say: at most **{bound}**");
}
