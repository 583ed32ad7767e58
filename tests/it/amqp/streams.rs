//! Reading a stream: everything in order and once, over lost connections, and honest about what is gone.

use super::*;
use switchboard::amqp::{Stream, StreamRecord, StreamSpec, StreamState};

fn spec(name: &str) -> StreamSpec {
    StreamSpec {
        name: name.to_owned(),
        max_age: Duration::from_secs(3600),
        max_bytes: 100 << 20,
        segment_bytes: 1 << 20,
        declare: true,
    }
}

const HOUR: Duration = Duration::from_secs(3600);

async fn is(stream: &Stream, what: &str, wanted: impl FnMut(&StreamState) -> bool) {
    let reached = timeout(PATIENCE, stream.state().wait_for(wanted)).await.is_ok();
    assert!(reached, "the reader is not {what}, but {:?}", stream.state().borrow());
}

async fn reading(stream: &Stream) {
    is(stream, "reading", |state| *state == StreamState::Reading).await;
}

async fn record(records: &mut mpsc::Receiver<StreamRecord>) -> StreamRecord {
    timeout(PATIENCE, records.recv()).await.expect("a record comes in time").expect("the reader goes on")
}

fn number(record: &StreamRecord) -> u64 {
    record.envelope.message_id.as_deref().unwrap().parse().unwrap()
}

/// Appends the records of these numbers, and waits for their confirms.
async fn append(publisher: &Publisher, stream: &str, numbers: std::ops::Range<u64>) {
    let publishes = numbers.map(|number| publisher.publish(Address::queue(stream), message(number), true));
    for confirm in timeout(PATIENCE, futures_util::future::join_all(publishes)).await.unwrap() {
        assert!(confirm.unwrap().routed);
    }
}

async fn publisher() -> Publisher {
    let (connection, name) = connect("publish").await;
    Publisher::start(connection, options("", &name))
}

#[tokio::test]
async fn every_record_comes_in_order_and_once_over_connections_that_are_closed_under_it() {
    let (connection, name) = connect("read").await;
    let publisher = publisher().await;
    let (stream, mut records) = Stream::start(connection, spec(&name), HOUR, 20);
    reading(&stream).await;
    append(&publisher, &name, 0..100).await;
    let mut seen = 0;
    for round in 1..4 {
        while seen < round * 100 {
            let record = record(&mut records).await;
            assert_eq!((number(&record), record.offset, record.follows), (seen, seen, seen > 0));
            seen += 1;
        }
        force_close(&name, "read").await;
        append(&publisher, &name, seen..seen + 100).await;
    }
    let (_late, mut from_the_start) = Stream::start(connect("read").await.0, spec(&name), HOUR, 100);
    for expected in 0..400 {
        assert_eq!(number(&record(&mut from_the_start).await), expected);
    }
}

#[tokio::test]
async fn who_does_not_read_holds_a_bounded_number_and_misses_nothing() {
    let (connection, name) = connect("read").await;
    let publisher = publisher().await;
    // A number that no other test uses: it finds the channel in the broker's list.
    let (stream, mut records) = Stream::start(connection, spec(&name), HOUR, 14);
    reading(&stream).await;
    // One at a time, so that each is a chunk of its own: the broker sends whole chunks.
    for number in 0..100 {
        append(&publisher, &name, number..number + 1).await;
    }
    found("as many wait as may", PATIENCE, async || (records.len() == 14).then_some(())).await;
    let listed = ctl(&["-q", "list_channels", "prefetch_count", "messages_unacknowledged"]).await;
    let unacked = listed.lines().find_map(|line| line.strip_prefix("14\t")).expect("the channel is listed");
    assert!(unacked.parse::<u64>().unwrap() <= 14, "{listed}");
    for expected in 0..100 {
        assert_eq!(number(&record(&mut records).await), expected);
    }
}

#[tokio::test]
async fn a_stream_that_is_deleted_is_made_again_and_read_anew() {
    let (connection, name) = connect("read").await;
    let publisher = publisher().await;
    let (stream, mut records) = Stream::start(connection, spec(&name), HOUR, 20);
    reading(&stream).await;
    append(&publisher, &name, 0..10).await;
    for _ in 0..10 {
        record(&mut records).await;
    }
    ctl(&["-q", "delete_queue", &name]).await;
    found("the stream is declared again", PATIENCE, async || {
        ctl(&["-q", "list_queues", "name", "type"]).await.contains(&format!("{name}\tstream")).then_some(())
    })
    .await;
    append(&publisher, &name, 100..105).await;
    for expected in 100..105 {
        let record = record(&mut records).await;
        assert_eq!((number(&record), record.offset, record.follows), (expected, expected - 100, expected > 100));
    }
}

#[tokio::test]
async fn a_stream_made_again_behind_the_readers_back_is_noticed_whether_shorter_or_longer() {
    let (operator, name) = connect("operator").await;
    let publisher = publisher().await;
    for (suffix, length) in [("shorter", 3), ("longer", 30)] {
        let stream_name = format!("{name}.{suffix}");
        let (connection, _) = connect("read").await;
        let lasting = StreamSpec { declare: false, ..spec(&stream_name) };
        let (made, _unread) = Stream::start(operator.clone(), spec(&stream_name), HOUR, 20);
        reading(&made).await;
        let (stream, mut records) = Stream::start(connection, lasting, HOUR, 20);
        append(&publisher, &stream_name, 0..10).await;
        for _ in 0..10 {
            record(&mut records).await;
        }
        reading(&stream).await;
        drop(made);
        ctl(&["-q", "delete_queue", &stream_name]).await;
        is(
            &stream,
            "waiting",
            |state| matches!(state, StreamState::Waiting { reason } if reason.contains("does not exist")),
        )
        .await;
        let (again, mut others) = Stream::start(operator.clone(), spec(&stream_name), HOUR, 20);
        reading(&again).await;
        append(&publisher, &stream_name, 100..100 + length).await;
        for expected in 100..100 + length {
            assert_eq!(number(&record(&mut others).await), expected);
        }
        for expected in 100..100 + length {
            let record = record(&mut records).await;
            assert_eq!((number(&record), record.offset, record.follows), (expected, expected - 100, expected > 100));
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_missing_is_waited_for_and_a_queue_of_that_name_is_never_read() {
    let (connection, name) = connect("read").await;
    let (stream, mut records) =
        Stream::start(connection.clone(), StreamSpec { declare: false, ..spec(&name) }, HOUR, 10);
    is(&stream, "told", |state| matches!(state, StreamState::Waiting { reason } if reason.contains("does not exist")))
        .await;
    let (_maker, _unread) = Stream::start(connection.clone(), spec(&name), HOUR, 10);
    reading(&stream).await;
    fill(&connection, &name, 1).await;
    assert_eq!(number(&record(&mut records).await), 0);

    for (kind, declare) in [(QueueKind::Quorum, true), (QueueKind::Quorum, false), (QueueKind::Classic, false)] {
        let other = format!("{name}.{kind:?}.{declare}");
        queue(&other, kind, &[]).apply(&connection).await.unwrap();
        fill(&connection, &other, 1).await;
        let (stream, mut records) = Stream::start(connection.clone(), StreamSpec { declare, ..spec(&other) }, HOUR, 10);
        is(&stream, "told", |state| matches!(state, StreamState::Waiting { reason } if reason.contains("no stream")))
            .await;
        assert!(records.try_recv().is_err());
        has(&other, 1, 0).await;
    }
}
