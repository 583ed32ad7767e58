//! The book of settled deliveries: 10,000 of them acked in batches, in order, in reverse, and in any order.

use crate::ledger::Ledger;
use criterion::{BatchSize, Criterion, Throughput};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

const DELIVERIES: u64 = 10_000;
/// Acks that are ready at a time, about what a busy worker has.
const BATCH: usize = 16;
/// Deliveries that are unsettled at a time, as with the default prefetch.
const WINDOW: usize = 1_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("settlement");
    group.throughput(Throughput::Elements(DELIVERIES));
    for (name, tags) in [("in_order", in_order()), ("in_reverse", in_reverse()), ("random", random())] {
        let batches: Vec<Vec<u64>> = tags.chunks(BATCH).map(<[u64]>::to_vec).collect();
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || batches.clone(),
                |mut batches| {
                    let mut ledger = Ledger::default();
                    let acks: usize = batches.iter_mut().map(|tags| ledger.acks(tags).len()).sum();
                    assert!(ledger.is_settled(DELIVERIES));
                    acks
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn in_order() -> Vec<u64> {
    (1..=DELIVERIES).collect()
}

/// Window by window, each from its end: what settles last is what all the others wait for.
fn in_reverse() -> Vec<u64> {
    in_order().chunks(WINDOW).flat_map(|window| window.iter().rev().copied()).collect()
}

/// Window by window, each in any order, the same in every run.
fn random() -> Vec<u64> {
    let mut dice = StdRng::seed_from_u64(7);
    let mut tags = in_order();
    tags.chunks_mut(WINDOW).for_each(|window| window.shuffle(&mut dice));
    tags
}
