//! How long the pure parts of the way of a job take: no broker, no socket, no clock. `make bench` runs them.

mod decoders;
// The book of a channel's acks is private to the task that keeps it, and pure: its file is compiled in here once more, so
// that nothing becomes public for the sake of a measurement. Its tests come along and run in the library alone.
#[allow(dead_code)]
#[path = "../../src/amqp/ledger.rs"]
mod ledger;
mod profiles;
mod router;
mod settlement;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

/// Long enough for a spread that says whether a figure can be trusted, short enough to be run at all.
fn criterion() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = parts;
    config = criterion();
    targets = router::bench, decoders::bench, profiles::bench, settlement::bench
}
criterion_main!(parts);
