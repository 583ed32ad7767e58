//! What is written is what is read, and nothing else is taken for it.

use super::*;
use crate::envelope::{Envelope, Headers, Value};
use crate::job::{Bulk, Job, Target, Targets};
use crate::outcome::{Executed, Status};
use crate::wire::native;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #[test]
    fn ranges_are_the_numbers_they_were_made_of(numbers in prop::collection::vec(0u32..300, 0..400)) {
        let ranges: Ranges = numbers.iter().copied().collect();
        let expected: Vec<u32> = numbers.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!((ranges.len(), ranges.is_empty()), (expected.len(), expected.is_empty()));
        let again: Ranges = serde_json::from_str(&serde_json::to_string(&ranges).unwrap()).unwrap();
        prop_assert_eq!(again, ranges);
    }

    #[test]
    fn a_fire_belongs_to_the_shard_of_its_schedule(name in "[a-z.@-]{0,12}", shards in 1u32..20) {
        let shard = shard_of(&name, shards);
        prop_assert!(shard < shards);
        if !name.contains('@') {
            prop_assert_eq!(shard_of(&format!("{name}@2026-11-29T10:00:00Z"), shards), shard);
        }
    }
}

#[test]
fn ranges_that_we_do_not_write_are_not_read() {
    for wrong in ["[[5,5]]", "[[5,4]]", "[[0,5],[5,9]]", "[[4,6],[0,2]]", "[[0,4294967296]]"] {
        assert!(serde_json::from_str::<Ranges>(wrong).is_err(), "{wrong}");
    }
    assert_eq!(serde_json::from_str::<Ranges>("[[0,2],[3,4]]").unwrap().iter().collect::<Vec<_>>(), [0, 1, 3]);
    assert_eq!((Ranges::of(3, 3).len(), Ranges::of(3, 5).len()), (0, 2));
}

fn job() -> Job {
    let targets = vec![Target { device: "a".into(), payload: None }, Target { device: "b".into(), payload: None }];
    let bulk = Bulk { concurrency: Some(2), ..Bulk::new(targets) };
    Job { enqueued_at: Some(1_700_000_000_123), ..Job::new("b1", Targets::Many(bulk), "reboot") }
}

#[test]
fn a_chunk_is_a_job_that_says_whom_to_tell() {
    let say = Say { status: Status::Cancelled, code: "cancelled".into(), message: "called off".into() };
    let chunk = Chunk {
        to: "q.coordinator.1".into(),
        release: 7,
        at: Ranges::of(3, 5),
        until: 99,
        say: Some(say),
        part: None,
        perhaps: false,
    };
    let envelope = chunk.encode(&job(), Some("replies"), Some("c1"));
    assert_eq!(Chunk::of(&envelope).unwrap().unwrap(), chunk);
    assert_eq!((envelope.reply_to.as_deref(), envelope.correlation_id.as_deref()), (Some("replies"), Some("c1")));
    assert_eq!(native::decode(&envelope, &native::Limits::default()).unwrap(), job());
    assert!(Chunk::of(&native::encode(&job())).is_none());
    let mut wrong = envelope;
    wrong.headers.set(CHUNK, Value::Text("{}".to_owned()));
    assert!(Chunk::of(&wrong).unwrap().unwrap_err().contains("missing field `to`"));
    assert_eq!(chunk.say.as_ref().unwrap().outcome().executed, Executed::No);
    let unknown = Say { status: Status::Unknown, ..chunk.say.unwrap() };
    assert_eq!(unknown.outcome().executed, Executed::Unknown);
}

#[test]
fn a_chunk_has_a_name_that_amqp_can_carry_whatever_its_job_is_called() {
    let name = |id: &str, release| {
        let chunk =
            Chunk { to: "q".into(), release, at: Ranges::of(0, 1), until: 1, say: None, part: None, perhaps: false };
        chunk.encode(&Job { id: id.into(), ..job() }, None, None).message_id.unwrap()
    };
    assert_eq!(name("b1", 7), "b1/7");
    let long = "i".repeat(255);
    assert_ne!(name(&long, 7), name(&long, 8));
    assert_ne!(name(&long, 7), name(&"j".repeat(255), 7));
    for release in [1, u32::MAX] {
        assert!(name(&long, release).len() <= 255 && name(&long[..250], release).len() <= 255);
    }
}

#[test]
fn records_are_read_as_they_were_written_and_others_are_left_alone() {
    let report = Report {
        id: "b1".into(),
        release: 7,
        done: vec![Done { status: Status::TimedOut, at: Ranges::of(0, 2) }],
        back: Ranges::of(2, 3),
    };
    let envelope = Record::Reports(vec![report.clone()]).encode();
    assert_eq!(
        envelope.body,
        r#"[{"id":"b1","release":7,"done":[{"status":"timed_out","at":[[0,2]]}],"back":[[2,3]]}]"#
    );
    assert!(matches!(Record::decode(&envelope), Some(Ok(Record::Reports(read))) if read == [report]));
    let job = native::encode(&job());
    let start = Start {
        id: "b1".into(),
        job: serde_json::from_slice(&job.body).unwrap(),
        made_at: Some(1),
        at: 2,
        reply_to: Some("replies".into()),
        correlation_id: None,
        end: Some(End { queue: "q".into(), message: Carried::of(job.clone()) }),
    };
    let Some(Ok(Record::Start(read))) = Record::decode(&Record::Start(Box::new(start.clone())).encode()) else {
        panic!("a start")
    };
    assert_eq!((read.id, read.job.get(), read.end), (start.id, start.job.get(), start.end));
    let ask = Ask { id: "b1".into(), what: What::Pause, at: 5 };
    assert!(matches!(Record::decode(&Record::Ask(ask.clone()).encode()), Some(Ok(Record::Ask(read))) if read == ask));
    let fire = Fire { schedule: "nightly".into(), id: "nightly@now".into(), at: 5 };
    assert!(
        matches!(Record::decode(&Record::Fire(fire.clone()).encode()), Some(Ok(Record::Fire(read))) if read == fire)
    );
    assert!(Record::decode(&json("barrier", &1)).is_none() && Record::decode(&job).is_none());
    assert!(Record::decode(&json("ask", &1)).unwrap().is_err());
}

#[test]
fn a_message_within_a_message_comes_out_as_it_went_in() {
    let table = Headers(vec![("n".to_owned(), Value::Null), ("d".to_owned(), Value::Decimal(15, 1))]);
    let values =
        vec![Value::Bool(true), Value::Float(0.5), Value::Bytes(Bytes::from_static(&[0, 255])), Value::Time(9)];
    let headers = Headers(vec![
        ("table".to_owned(), Value::Table(table)),
        ("list".to_owned(), Value::List(values)),
        ("int".to_owned(), Value::Int(-5)),
    ]);
    let text = Envelope {
        body: Bytes::from_static("{\"ä\":1}".as_bytes()),
        content_type: Some("application/json".into()),
        kind: Some("k".into()),
        message_id: Some("m".into()),
        correlation_id: Some("c".into()),
        reply_to: Some("r".into()),
        priority: Some(3),
        timestamp: Some(7),
        app_id: Some("a".into()),
        persistent: true,
        headers,
        ..Envelope::default()
    };
    let binary = Envelope { body: Bytes::from_static(&[0xFF, 0]), persistent: true, ..Envelope::default() };
    for envelope in [text, binary] {
        let json = serde_json::to_string(&Carried::of(envelope.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Carried>(&json).unwrap().into_envelope(), envelope);
    }
}
