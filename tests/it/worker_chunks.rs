//! Bulks that are spread over workers, seen from a coordinator that each test plays by hand: chunks out, reports in, an end.

use crate::harness::caller::Reply;
use crate::harness::device::{Behaviour, Dialect};
use crate::harness::eventually::{eventually, found};
use crate::harness::rabbitmq;
use crate::harness::worker::{Worker, run_in};
use crate::worker_scene::{SOON, Scene, said};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard::amqp::{Address, Connection, Options, Publisher};
use switchboard::envelope::Envelope;
use switchboard::job::{Bulk, BulkResults, Guarantee, Job, Mode, Payload, Target, Targets};
use switchboard::outcome::Status;
use switchboard::wire::bulk::{Chunk, Part, Ranges, Record, Report, Say, shard_queue};

/// The place of the first device of every chunk here.
const FIRST: u32 = 500;

/// A coordinator played by hand: its one shard is a queue that the test reads.
pub(crate) struct Hand {
    pub(crate) scene: Scene,
    publisher: Publisher,
    _connection: Connection,
    pub(crate) bulk_queue: String,
    shard: String,
    pub(crate) records: Arc<Mutex<Vec<Reply>>>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

pub(crate) fn job(devices: usize) -> Job {
    let targets = (0..devices).map(|n| Target { device: format!("d{n}").into(), payload: None }).collect();
    let results = BulkResults::Stream;
    let bulk = Bulk { targets, rate_per_second: None, concurrency: Some(10), abort: None, results };
    Job {
        id: "b".into(),
        targets: Targets::Many(bulk),
        command: "open".into(),
        payload: Payload::Json(r#"{"job":"b"}"#.into()),
        mode: Mode::Request,
        profile: "default".into(),
        timeout: None,
        expires_at: None,
        not_before: None,
        guarantee: Some(Guarantee::AtMostOnce),
        enqueued_at: Some(now()),
    }
}

/// A record's body as the message that it was.
pub(crate) fn record(reply: &Reply) -> Record {
    let body = reply.body.to_string().into();
    let envelope = Envelope { kind: reply.kind.clone(), body, ..Envelope::default() };
    Record::decode(&envelope).expect("a record").expect("one that can be read")
}

impl Hand {
    pub(crate) async fn start(scene: Scene) -> Self {
        let scene = scene.set("BULK__SHARDS", "1");
        let url = rabbitmq::shared().await.url();
        let connection = Connection::start(Options { url, ..Options::default() }, "coordinator");
        let publisher = Publisher::start(connection.clone(), Options::default());
        let bulk_queue = format!("{}.bulk", scene.options.queue);
        let shard = shard_queue(&bulk_queue, 0);
        Self { scene, publisher, _connection: connection, bulk_queue, shard, records: Arc::default() }
    }

    /// The usual: devices that echo, and the queue of the shard.
    pub(crate) async fn ready() -> Self {
        Self::start(Scene::start(Dialect::Default).await).await.listening().await
    }

    pub(crate) async fn listening(mut self) -> Self {
        self.scene.caller.declare(&self.shard, "quorum").await;
        self.records = self.scene.caller.collect(&self.shard).await;
        self
    }

    pub(crate) async fn publish(&self, queue: &str, envelope: Envelope) {
        assert!(self.publisher.publish(Address::queue(queue), envelope, true).await.unwrap().routed, "{queue}");
    }

    /// Sends a chunk, once its queue is there.
    async fn release(&self, release: u32, job: &Job, until: u64, say: Option<Say>) -> Ranges {
        self.send(release, job, until, say, None).await
    }

    pub(crate) async fn send(
        &self,
        release: u32,
        job: &Job,
        until: u64,
        say: Option<Say>,
        part: Option<Part>,
    ) -> Ranges {
        let Targets::Many(bulk) = &job.targets else { panic!("no bulk") };
        let at = Ranges::of(FIRST, FIRST + u32::try_from(bulk.targets.len()).unwrap());
        let chunk = Chunk { to: self.shard.clone(), release, at: at.clone(), until, say, part, perhaps: false };
        self.publish(&self.bulk_queue, chunk.encode(job, Some(self.scene.caller.reply_to()), Some("asked"))).await;
        at
    }

    async fn release_now(&self, job: &Job) -> Ranges {
        self.release(7, job, now() + 60_000, None).await
    }

    fn reports(&self) -> Vec<Report> {
        let records: Vec<Reply> = self.records.lock().unwrap().clone();
        let reports = records.iter().filter_map(|reply| match record(reply) {
            Record::Reports(reports) => Some(reports),
            _ => None,
        });
        reports.flatten().collect()
    }

    /// What each place is reported to be, `back` among it; every place once, unless it is told more than once.
    fn told(&self) -> BTreeMap<u32, BTreeSet<&'static str>> {
        let mut told: BTreeMap<u32, BTreeSet<_>> = BTreeMap::new();
        for report in self.reports() {
            assert_eq!((&*report.id, report.release), ("b", 7));
            let done = report.done.iter().flat_map(|done| done.at.iter().map(|at| (at, done.status.as_str())));
            for (at, what) in done.chain(report.back.iter().map(|at| (at, "back"))) {
                told.entry(at).or_default().insert(what);
            }
        }
        told
    }

    /// Waits until so many places are reported, and the queue of chunks is empty; returns how many are what.
    pub(crate) async fn counted(&self, places: usize) -> BTreeMap<&'static str, usize> {
        eventually("every device is reported", SOON, async || self.told().len() == places).await;
        eventually("no chunk is left", SOON, async || self.scene.caller.depth(&self.bulk_queue).await == Some(0)).await;
        let mut counts = BTreeMap::new();
        for what in self.told().values().flatten() {
            *counts.entry(*what).or_default() += 1;
        }
        counts
    }

    pub(crate) async fn idle(&self, worker: &Worker) {
        self.scene.wait_idle(worker).await;
    }
}

fn places(at: &Ranges) -> BTreeSet<u32> {
    at.iter().collect()
}

#[tokio::test]
async fn the_devices_of_a_chunk_are_commanded_told_and_reported_by_their_places() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    for (device, behaviour) in [("d3", Behaviour::Reject), ("d5", Behaviour::Silent)] {
        hand.scene.fleet.behave_as(device, behaviour);
    }
    let at = hand.release_now(&Job { timeout: Some(Duration::from_millis(500)), ..job(60) }).await;
    assert_eq!(hand.counted(60).await, BTreeMap::from([("rejected", 1), ("succeeded", 58), ("timed_out", 1)]));
    let told = hand.told();
    assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), places(&at));
    assert!(told[&(FIRST + 3)].contains("rejected") && told[&(FIRST + 5)].contains("timed_out"));
    let reports = hand.reports().len();
    assert!(reports < 30, "{reports} reports of 60 devices: they do not go together");
    let replies = hand.scene.caller.wait_for(60, SOON).await;
    let devices: BTreeSet<String> = replies.iter().map(|reply| reply.body["device"].to_string()).collect();
    assert_eq!((devices.len(), replies.len()), (60, 60));
    for reply in &replies {
        assert_eq!(reply.correlation_id.as_deref(), Some("asked"));
        assert_eq!((&reply.body["id"], &reply.body["command"]), (&json!("b"), &json!("open")));
    }
    hand.idle(&worker).await;
    let counted = worker.metric("switchboard_bulk_devices_total", &[("status", "succeeded")]).await;
    assert_eq!(counted, 58.0);
}

#[tokio::test]
async fn a_chunk_that_only_says_something_sends_nothing() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    let say = Say { status: Status::Cancelled, code: "aborted".into(), message: "too many failed".into() };
    // Whatever its time is: there is nothing to be late for.
    hand.release(7, &job(30), 1, Some(say)).await;
    assert_eq!(hand.counted(30).await, BTreeMap::from([("cancelled", 30)]));
    for reply in hand.scene.caller.wait_for(30, SOON).await {
        assert_eq!(said(&reply.body), ("cancelled", "no"));
        assert_eq!(reply.body["error"], json!({"code": "aborted", "message": "too many failed"}));
    }
    hand.idle(&worker).await;
    assert_eq!(hand.scene.fleet.executed().len(), 0);
}

#[tokio::test]
async fn what_is_not_begun_within_the_lease_goes_back() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    hand.release(7, &job(30), now() - 1, None).await;
    assert_eq!(hand.counted(30).await, BTreeMap::from([("back", 30)]));
    assert_eq!((hand.scene.fleet.executed().len(), hand.scene.caller.replies().len()), (0, 0));
    hand.idle(&worker).await;
}

#[tokio::test]
async fn a_lease_that_runs_out_gives_the_rest_back_and_waits_for_no_device() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_secs(8)));
    hand.release(7, &job(40), now() + 2_000, None).await;
    hand.scene.fleet.wait_for(10, SOON).await;
    eventually("the rest is back", SOON, async || hand.told().len() == 30).await;
    assert!(hand.told().values().all(|what| what.contains("back")), "before any device has answered");
    assert_eq!(hand.counted(40).await, BTreeMap::from([("back", 30), ("succeeded", 10)]));
    hand.idle(&worker).await;
}

#[tokio::test]
async fn a_worker_that_stops_finishes_what_is_at_the_devices_and_gives_the_rest_back() {
    let hand = Hand::ready().await;
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let mut worker = hand.scene.worker().await;
    let at = hand.release_now(&job(100)).await;
    hand.scene.fleet.wait_for(15, SOON).await;
    worker.terminate();
    assert_eq!(worker.wait(SOON).await.code(), Some(0));
    let counts = hand.counted(100).await;
    let executed = hand.scene.fleet.executed().len();
    assert!(executed < 100, "the stop came too late");
    assert_eq!(counts, BTreeMap::from([("back", 100 - executed), ("succeeded", executed)]));
    assert_eq!(hand.told().keys().copied().collect::<BTreeSet<_>>(), places(&at));
    assert_eq!(hand.scene.caller.wait_for(executed, SOON).await.len(), executed);
}

#[tokio::test]
async fn when_the_grace_is_over_only_what_is_at_the_devices_is_unknown() {
    let hand = Hand::start(Scene::start(Dialect::Default).await.set("WORKER__GRACE", "1s")).await.listening().await;
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_secs(9)));
    let mut worker = hand.scene.worker().await;
    hand.release_now(&job(40)).await;
    hand.scene.fleet.wait_for(10, SOON).await;
    worker.terminate();
    worker.wait(SOON).await;
    assert_eq!(hand.counted(40).await, BTreeMap::from([("back", 30), ("unknown", 10)]));
    for reply in hand.scene.caller.wait_for(10, SOON).await {
        assert_eq!((said(&reply.body), &reply.body["error"]["code"]), (("unknown", "unknown"), &json!("stopped")));
    }
}

#[tokio::test]
async fn a_chunk_that_comes_back_while_it_runs_is_not_run_twice_and_nothing_of_it_is_unknown() {
    let (scene, proxy) = crate::worker_cuts::behind_amqp_proxy().await;
    let hand = Hand::start(scene).await.listening().await;
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_millis(2_500)));
    let worker = hand.scene.worker().await;
    hand.release_now(&job(40)).await;
    hand.scene.fleet.wait_for(10, SOON).await;
    proxy.cut();
    eventually("it was delivered again", SOON, async || {
        worker.metric("switchboard_redeliveries_total", &[]).await >= 1.0
    })
    .await;
    assert_eq!(hand.counted(40).await, BTreeMap::from([("back", 30), ("succeeded", 10)]));
    hand.idle(&worker).await;
    assert_eq!((hand.scene.fleet.executed().len(), hand.scene.caller.replies().len()), (10, 10));
}

#[tokio::test]
async fn where_commands_are_claimed_a_killed_worker_s_chunk_goes_on_where_it_was() {
    let hand = Hand::start(Scene::start(Dialect::Default).await.set("WORKER__CLAIMS", "true")).await.listening().await;
    let (second, _) = killed(&hand, Guarantee::AtMostOnce).await;
    let counts = hand.counted(50).await;
    let unknown = counts.get("unknown").copied().unwrap_or(0);
    assert!(unknown <= 10 && counts["succeeded"] == 50 - unknown, "{counts:?}");
    hand.idle(&second).await;
    let devices: BTreeSet<String> = hand.scene.fleet.executed().into_iter().map(|executed| executed.device).collect();
    assert_eq!(devices.len(), hand.scene.fleet.executed().len(), "a device was commanded twice");
}

/// A chunk whose first worker is killed while it runs; returns the second, and how many devices had been commanded.
async fn killed(hand: &Hand, guarantee: Guarantee) -> (Worker, usize) {
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let mut first = hand.scene.worker().await;
    // With little time, so that a claim of the killed one is soon known to be given up.
    let timeout = Some(Duration::from_secs(2));
    hand.release_now(&Job { guarantee: Some(guarantee), timeout, ..job(50) }).await;
    eventually("some devices are reported", SOON, async || hand.told().len() >= 5).await;
    first.kill();
    let executed = hand.scene.fleet.executed().len();
    (hand.scene.worker().await, executed)
}

#[tokio::test]
async fn a_chunk_whose_worker_was_killed_is_unknown_at_most_once() {
    let hand = Hand::ready().await;
    let (second, executed) = killed(&hand, Guarantee::AtMostOnce).await;
    eventually("the last device is unknown", SOON, async || {
        hand.told().values().filter(|what| what.contains("unknown")).count() == 50
    })
    .await;
    let counts = hand.counted(50).await;
    assert!(counts["succeeded"] >= 5 && counts.len() == 2, "{counts:?}");
    hand.idle(&second).await;
    // What had left the killed worker may still have arrived.
    assert!(hand.scene.fleet.executed().len() <= executed + 10);
    let devices: BTreeSet<String> = hand.scene.fleet.executed().into_iter().map(|executed| executed.device).collect();
    assert_eq!(devices.len(), hand.scene.fleet.executed().len(), "a device was commanded twice");
}

#[tokio::test]
async fn a_chunk_whose_worker_was_killed_runs_again_at_least_once() {
    let hand = Hand::ready().await;
    let (second, _) = killed(&hand, Guarantee::AtLeastOnce).await;
    assert_eq!(hand.counted(50).await, BTreeMap::from([("succeeded", 50)]));
    hand.idle(&second).await;
    assert!(hand.scene.fleet.executed().len() > 50);
}

#[tokio::test]
async fn a_cancel_of_the_bulk_reaches_every_chunk_of_it() {
    let hand = Hand::ready().await;
    hand.scene.fleet.behave(Behaviour::Slow(Duration::from_millis(300)));
    let worker = hand.scene.worker().await;
    hand.release_now(&job(100)).await;
    hand.scene.fleet.wait_for(12, SOON).await;
    let place = ["cancel", "b", "--amqp-url", &hand.scene.options.amqp_url, "--queue", &hand.scene.options.queue];
    let cancelled = run_in(&hand.scene.options.environment, &[&place[..], &["--wait", "300ms"]].concat(), SOON).await;
    assert_eq!(cancelled.status.code(), Some(0), "{cancelled:?}");
    let counts = hand.counted(100).await;
    let executed = hand.scene.fleet.executed().len();
    assert!(executed < 60 && counts["cancelled"] >= 100 - executed, "{executed} {counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 100, "{counts:?}");
    hand.idle(&worker).await;
}

#[tokio::test]
async fn a_chunk_that_cannot_be_read_is_a_dead_letter() {
    let hand = Hand::ready().await;
    let worker = hand.scene.worker().await;
    let chunk = Chunk {
        to: hand.shard.clone(),
        release: 1,
        at: Ranges::of(0, 2),
        until: now() + 60_000,
        say: None,
        part: None,
        perhaps: false,
    };
    for envelope in [
        chunk.encode(&job(3), None, None),
        chunk.encode(&Job { targets: Targets::One("d".into()), ..job(1) }, None, None),
        Envelope { body: "{}".into(), persistent: true, ..Envelope::default() },
    ] {
        hand.publish(&hand.bulk_queue, envelope).await;
    }
    let letters = found("three dead letters", SOON, async || {
        (hand.scene.caller.depth(&hand.scene.dead).await == Some(3)).then_some(())
    });
    letters.await;
    let letters = hand.scene.caller.take_dead_letters(&hand.scene.dead).await;
    assert!(letters.iter().all(|letter| letter.reason.as_deref() == Some("invalid")), "{letters:?}");
    hand.idle(&worker).await;
    assert!(hand.reports().is_empty() && hand.scene.fleet.executed().is_empty());
}
