//! A command as the MQTT message of each built-in dialect: topic, payload, where the answer comes.

use criterion::Criterion;
use std::hint::black_box;
use switchboard::job::Payload;
use switchboard::profile::{Call, Profile, builtin};

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("render");
    let payload = Payload::Json(r#"{"level": 3, "fade_ms": 250}"#.into());
    for (name, table) in builtin() {
        let profile = Profile::compile(&name, &table).expect("a built-in profile compiles");
        let mut attempt = 0;
        group.bench_function(&name, |bencher| {
            bencher.iter(|| {
                attempt += 1;
                let call = Call {
                    device: black_box("dev-17"),
                    command: black_box("set"),
                    payload: &payload,
                    inbox: "0a1b2c3d4e5f60718293a4b5c6d7e8f9",
                    attempt,
                    job_id: black_box("01JE0000000000000000000000"),
                    expires_at: Some(1_795_341_605_000),
                };
                profile.render(&call)
            });
        });
    }
    group.finish();
}
