//! The claim log on a real stream: one owner per command, whoever reads it from wherever.

use crate::harness::eventually::found;
use crate::harness::{rabbitmq, unique};
use std::time::{Duration, Instant};
use switchboard::amqp::{self, Address, Connection, Publisher};
use switchboard::claims::{Claim, Claimed, Log, LogState, Options, Standing, Subject};
use switchboard::deadline::Now;
use switchboard::envelope::Envelope;
use switchboard::outcome::Status;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A replica: a reader and a writer of the log.
struct Replica {
    log: Log,
    publisher: Publisher,
    reading: Connection,
}

impl Replica {
    async fn start(options: &Options) -> Self {
        let replica = Self::starting(options).await;
        assert!(replica.log.ready(soon()).await, "{:?}", replica.log.state().borrow());
        replica
    }

    async fn starting(options: &Options) -> Self {
        let amqp = amqp::Options {
            url: rabbitmq::shared().await.url(),
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(500),
            ..amqp::Options::default()
        };
        let reading = Connection::start(amqp.clone(), "consume");
        let publisher = Publisher::start(Connection::start(amqp.clone(), "publish"), amqp);
        let log = Log::start(reading.clone(), publisher.clone(), options.clone());
        Self { log, publisher, reading }
    }

    async fn claim(&self, id: &str) -> Claimed {
        let until = Now::read().unix_ms + 60_000;
        timeout(PATIENCE, self.log.claim(&subject(id), until, true, soon())).await.expect("a claim has an end")
    }

    async fn mine(&self, id: &str) -> Claim {
        match self.claim(id).await {
            Claimed::Mine(claim) => claim,
            other => panic!("{id}: {other:?}"),
        }
    }
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn subject(id: &str) -> Subject {
    Subject::single(id.into())
}

fn options() -> Options {
    Options { wait: Duration::from_secs(3), ..Options::new(unique("claims")) }
}

fn reply(body: &str) -> Envelope {
    Envelope {
        body: body.to_owned().into(),
        kind: Some("k".to_owned()),
        message_id: Some("m".to_owned()),
        persistent: true,
        ..Envelope::default()
    }
}

#[tokio::test]
async fn of_many_who_claim_at_once_each_command_has_one_owner() {
    let options = options();
    let (one, two) = tokio::join!(Replica::start(&options), Replica::start(&options));
    let mut asked = Vec::new();
    for n in 0..100 {
        for replica in [&one, &two, &one] {
            let log = replica.log.clone();
            let until = Now::read().unix_ms + 60_000;
            asked.push(tokio::spawn(
                async move { (n, log.claim(&subject(&format!("j{n}")), until, true, soon()).await) },
            ));
        }
    }
    let mut owners = vec![0; 100];
    let mut claims = Vec::new();
    for asked in asked {
        match asked.await.unwrap() {
            (n, Claimed::Mine(claim)) => {
                owners[n] += 1;
                claims.push(claim);
            }
            (_, Claimed::Taken(Standing::Claimed { .. })) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(owners.iter().all(|owners| *owners == 1), "{owners:?}");
}

#[tokio::test]
async fn an_outcome_is_known_to_the_others_and_to_one_that_starts_later() {
    let options = options();
    let (one, two) = tokio::join!(Replica::start(&options), Replica::start(&options));
    let claim = one.mine("j").await;
    assert!(matches!(two.claim("j").await, Claimed::Taken(Standing::Claimed { .. })));
    let waiting = two.log.clone();
    let waiting = tokio::spawn(async move { waiting.outcome_of(&subject("j"), soon()).await });
    assert!(claim.finish(true, Status::Succeeded, Some(&reply("said"))).await);
    let done =
        Standing::Done { reached: true, status: Status::Succeeded, reply: Some(std::sync::Arc::new(reply("said"))) };
    assert_eq!(timeout(PATIENCE, waiting).await.unwrap().unwrap(), done);
    let late = Replica::start(&options).await;
    assert_eq!(late.log.standing(&subject("j")), done);
    assert!(matches!(late.claim("j").await, Claimed::Taken(Standing::Done { .. })));
}

#[tokio::test]
async fn a_claim_is_released_when_it_is_dropped_unsent_and_stands_when_it_was_sent() {
    let options = options();
    let (one, two) = tokio::join!(Replica::start(&options), Replica::start(&options));
    let claim = one.mine("a").await;
    assert!(matches!(two.claim("a").await, Claimed::Taken(Standing::Claimed { .. })));
    drop(claim);
    assert_eq!(timeout(PATIENCE, two.log.outcome_of(&subject("a"), soon())).await.unwrap(), Standing::Nobody);
    two.mine("a").await.release();

    let claim = one.mine("b").await;
    claim.sent();
    drop(claim);
    one.log.flush(PATIENCE).await;
    // What was written later is read later.
    two.mine("c").await.release();
    assert!(matches!(two.log.standing(&subject("b")), Standing::Claimed { .. }));
}

#[tokio::test]
async fn a_claim_that_nobody_waits_for_any_more_is_released() {
    let options = options();
    let (one, two) = tokio::join!(Replica::start(&options), Replica::start(&options));
    let until = Now::read().unix_ms + 60_000;
    for n in 0..20 {
        let id = subject(&format!("j{n}"));
        // Given up at any point of its way.
        let _ = timeout(Duration::from_micros(300 * n), one.log.claim(&id, until, true, soon())).await;
    }
    for n in 0..20 {
        let id = format!("j{n}");
        found(&format!("{id} is free"), PATIENCE, async || match two.claim(&id).await {
            Claimed::Mine(claim) => Some(claim),
            _ => None,
        })
        .await
        .release();
    }
}

#[tokio::test]
async fn a_log_that_is_deleted_is_not_ready_until_it_can_be_made_again_and_remembers_only_what_came_after() {
    let options = options();
    let one = Replica::start(&options).await;
    let lasting = Options { declare: false, ..options.clone() };
    let two = Replica::start(&lasting).await;
    one.mine("before").await.finish(true, Status::Succeeded, None).await;
    let made_before = Now::read().unix_ms;
    drop(one);
    let node = rabbitmq::shared().await;
    let name = options.stream.clone();
    tokio::task::spawn_blocking(move || node.ctl(&["-q", "delete_queue", &name]).unwrap()).await.unwrap();
    let mut state = two.log.state();
    let told = timeout(
        PATIENCE,
        state.wait_for(|state| matches!(state, LogState::CatchingUp { reason } if reason.contains("does not exist"))),
    );
    assert!(told.await.is_ok(), "{:?}", two.log.state().borrow());
    let brief = Instant::now() + Duration::from_millis(300);
    assert!(matches!(two.log.claim(&subject("now"), 0, true, brief).await, Claimed::Unavailable));

    let again = Replica::start(&options).await;
    assert!(two.log.ready(soon()).await, "{:?}", two.log.state().borrow());
    let claim = again.mine("after").await;
    assert!(matches!(two.claim("after").await, Claimed::Taken(Standing::Claimed { .. })));
    claim.release();
    for replica in [&again, &two] {
        assert_eq!(replica.log.standing(&subject("before")), Standing::Nobody);
        assert!(!replica.log.covers(Some(made_before)), "it knows nothing of that time");
        assert!(replica.log.covers(Some(Now::read().unix_ms + options.skew.as_millis() as u64)));
        assert!(!replica.log.covers(None));
    }
}

#[tokio::test]
async fn what_is_no_record_is_passed_over_and_a_closed_connection_ends_it() {
    let options = options();
    let one = Replica::start(&options).await;
    let stray = Envelope { body: "{\"record\":\"of a later version\"}".into(), ..Envelope::default() };
    one.publisher.publish(Address::queue(options.stream.as_str()), stray, true).await.unwrap();
    one.mine("j").await.release();
    one.log.flush(PATIENCE).await;
    one.reading.close().await;
    let mut state = one.log.state();
    let ended = timeout(PATIENCE, state.wait_for(|state| *state != LogState::Ready)).await;
    assert!(ended.is_ok());
}
