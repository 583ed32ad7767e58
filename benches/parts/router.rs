//! The MQTT router: one topic against 10 to 100,000 filters, exact and with wildcards.

use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;
use switchboard::mqtt::Router;
use switchboard::topic::TopicFilter;

const SIZES: [usize; 3] = [10, 1_000, 100_000];
/// Topics that are looked up in turn: more than one, so that no branch is learnt by heart.
const TOPICS: usize = 10;

/// So many filters, and topics each of which one of them matches.
struct Kind {
    name: &'static str,
    filter: fn(usize) -> String,
}

const KINDS: [Kind; 2] = [
    Kind { name: "exact", filter: |number| format!("devices/dev-{number}/responses/inbox/7") },
    Kind { name: "wildcard", filter: |number| format!("devices/dev-{number}/responses/+/#") },
];

fn filled(kind: &Kind, size: usize) -> Option<Router<usize>> {
    let mut router = Router::new();
    for number in 0..size {
        router.insert(&TopicFilter::new((kind.filter)(number)).ok()?, number);
    }
    Some(router)
}

pub(crate) fn bench(criterion: &mut Criterion) {
    for kind in &KINDS {
        let mut group = criterion.benchmark_group(format!("router/{}", kind.name));
        for size in SIZES {
            let topics: Vec<String> = (0..TOPICS)
                .map(|number| format!("devices/dev-{}/responses/inbox/7", number * (size / TOPICS)))
                .collect();
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                // In here: it is only done for what a name on the command line asks for.
                let router = filled(kind, size).expect("every filter is one");
                let mut topics = topics.iter().cycle();
                bencher.iter(|| {
                    let mut found = 0;
                    let topic = topics.next().map_or("", String::as_str);
                    black_box(&router).for_each_match(black_box(topic), |_| found += 1);
                    assert_eq!(found, 1);
                });
            });
        }
        group.finish();
    }
}
