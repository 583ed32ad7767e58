//! Chords: every part counts once, and one part, surely, completes.

use super::*;
use crate::harness::eventually::eventually;
use futures_util::future::join_all;
use rand::seq::SliceRandom;
use std::future::Future;
use std::pin::pin;

const KEY: &str = "celery-taskset-meta-g";

/// The end of the task `id`, as Python writes it into the set.
fn member(id: &str) -> String {
    format!(r#"[1, "{id}", "SUCCESS", 2]"#)
}

async fn count(backend: &Backend, index: i64) -> Counted {
    let (id, member) = (format!("t{index}"), member(&format!("t{index}")));
    backend.chord_part(&Part { group: "g", id: &id, index: Some(index), member: &member }).await.unwrap()
}

/// What the last of so many parts is told.
fn complete(size: i64) -> Counted {
    Counted::Complete((0..size).map(|index| member(&format!("t{index}"))).collect())
}

/// A chord of two whose last part, the second, has the claim of `first` and did not send the body.
async fn claimed(first: &Backend) {
    first.begin_chord("g", 2, None).await.unwrap();
    assert_eq!(count(first, 0).await, Counted::Waiting);
    assert_eq!(count(first, 1).await, complete(2));
}

async fn still_waits(future: &mut (impl Future<Output = Counted> + Unpin)) {
    let early = timeout(Duration::from_millis(700), future).await;
    assert!(early.is_err(), "{early:?}, while another has the claim");
}

#[tokio::test]
async fn a_chord_of_two_is_counted_under_celerys_keys_and_leaves_only_the_mark_that_it_is_done() {
    let (_redis, backend, client) = start().await;
    backend.begin_chord("g", 2, None).await.unwrap();
    assert_eq!(count(&backend, 1).await, Counted::Waiting);
    let parts: Vec<String> = client.run(&["ZRANGE", &format!("{KEY}.j"), "0", "-1", "WITHSCORES"]).await;
    assert_eq!(parts, [r#"[1, "t1", "SUCCESS", 2]"#, "1"]);
    assert_eq!(client.run::<Vec<String>>(&["SMEMBERS", &format!("{KEY}.d")]).await, ["t1:1"]);
    for end in [".j", ".d", ".s"] {
        let left: i64 = client.run(&["TTL", &format!("{KEY}{end}")]).await;
        assert!((DAY - 60..=DAY).contains(&left), "{end} {left}");
    }
    assert_eq!(count(&backend, 0).await, complete(2));
    backend.finish_chord("g", true).await.unwrap();
    assert_eq!(client.run::<Vec<String>>(&["KEYS", "*"]).await, [format!("{KEY}.c")]);
    assert_eq!(client.get(&format!("{KEY}.c")).await.as_deref(), Some("done"));
    assert!((240..=300).contains(&client.run::<i64>(&["TTL", &format!("{KEY}.c")]).await));
    assert_eq!(count(&backend, 0).await, Counted::Done);
    assert_eq!(client.run::<Vec<String>>(&["KEYS", "*"]).await, [format!("{KEY}.c")]);
}

#[tokio::test]
async fn a_hundred_parts_in_any_order_complete_once_with_the_members_in_theirs() {
    let (_redis, backend, _) = start().await;
    backend.begin_chord("g", 100, None).await.unwrap();
    let mut order: Vec<i64> = (0..100).collect();
    order.shuffle(&mut rand::rng());
    let (last, before) = order.split_last().unwrap();
    for index in before {
        assert_eq!(count(&backend, *index).await, Counted::Waiting);
    }
    assert_eq!(count(&backend, *last).await, complete(100));
}

#[tokio::test]
async fn of_parts_that_ten_workers_count_at_once_exactly_one_completes() {
    let (redis, starter, _) = start().await;
    starter.begin_chord("g", 100, None).await.unwrap();
    let workers = (0..10).map(|worker| {
        let backend = Backend::connect(options(&redis)).unwrap();
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for index in (worker * 10)..(worker * 10 + 10) {
                answers.push(count(&backend, index).await);
            }
            answers
        })
    });
    let answers: Vec<Counted> = join_all(workers).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| **answer == complete(100)).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Counted::Waiting).count(), 99);
}

#[tokio::test]
async fn a_part_that_comes_again_counts_once_whatever_it_says_the_second_time() {
    let (redis, backend, client) = start().await;
    backend.begin_chord("g", 2, None).await.unwrap();
    let other = Backend::connect(options(&redis)).unwrap();
    assert_eq!(count(&backend, 0).await, Counted::Waiting);
    assert_eq!(count(&backend, 0).await, Counted::Waiting);
    let otherwise = Part { group: "g", id: "t0", index: Some(0), member: r#"[1, "t0", "FAILURE", {}]"# };
    assert_eq!(other.chord_part(&otherwise).await.unwrap(), Counted::Waiting);
    assert_eq!(client.run::<i64>(&["ZCARD", &format!("{KEY}.j")]).await, 1);
    assert_eq!(count(&other, 1).await, complete(2));
}

#[tokio::test]
async fn parts_may_end_before_the_chord_has_its_size() {
    let (_redis, backend, _) = start().await;
    assert_eq!(count(&backend, 0).await, Counted::Waiting);
    backend.begin_chord("g", 2, None).await.unwrap();
    assert_eq!(count(&backend, 1).await, complete(2));
}

#[tokio::test]
async fn a_part_whose_answer_was_lost_completes_when_it_is_counted_again_in_the_same_process() {
    let (_redis, backend, _) = start().await;
    claimed(&backend).await;
    assert_eq!(count(&backend, 1).await, complete(2));
}

#[tokio::test]
async fn the_last_part_of_a_dead_worker_completes_at_another_once_the_claim_has_run_out() {
    let (redis, dead, client) = start().await;
    claimed(&dead).await;
    let left: i64 = client.run(&["PTTL", &format!("{KEY}.c")]).await;
    assert!((1..=30_000).contains(&left), "{left}");
    let other = Backend::connect(options(&redis)).unwrap();
    let mut again = pin!(count(&other, 1));
    still_waits(&mut again).await;
    // What half a minute does.
    client.run::<()>(&["PEXPIRE", &format!("{KEY}.c"), "1"]).await;
    assert_eq!(timeout(PATIENCE, again).await.unwrap(), complete(2));
    other.finish_chord("g", true).await.unwrap();
    assert_eq!(count(&dead, 1).await, Counted::Done);
}

#[tokio::test]
async fn the_last_part_delivered_twice_at_once_completes_once() {
    let (redis, first, _) = start().await;
    claimed(&first).await;
    let second = Backend::connect(options(&redis)).unwrap();
    let mut again = pin!(count(&second, 1));
    still_waits(&mut again).await;
    first.finish_chord("g", true).await.unwrap();
    assert_eq!(timeout(PATIENCE, again).await.unwrap(), Counted::Done);
}

#[tokio::test]
async fn another_part_that_comes_again_waits_for_nobody() {
    let (redis, first, _) = start().await;
    claimed(&first).await;
    let other = Backend::connect(options(&redis)).unwrap();
    assert_eq!(timeout(Duration::from_secs(15), count(&other, 0)).await.unwrap(), Counted::Waiting);
}

#[tokio::test]
async fn a_worker_that_was_slow_asks_before_it_sends_the_body_and_learns_that_another_took_over() {
    let (redis, slow, client) = start().await;
    claimed(&slow).await;
    let last = Part { group: "g", id: "t1", index: Some(1), member: "" };
    assert!(slow.hold_chord(&last).await.unwrap());
    client.run::<()>(&["DEL", &format!("{KEY}.c")]).await;
    assert!(slow.hold_chord(&last).await.unwrap(), "nobody took it over");
    client.run::<()>(&["DEL", &format!("{KEY}.c")]).await;
    let other = Backend::connect(options(&redis)).unwrap();
    assert_eq!(count(&other, 1).await, complete(2));
    assert!(!slow.hold_chord(&last).await.unwrap());
    // The slow one leaves the other's chord alone, too.
    slow.finish_chord("g", true).await.unwrap();
    assert!(other.hold_chord(&last).await.unwrap());
    other.finish_chord("g", true).await.unwrap();
    assert!(!other.hold_chord(&last).await.unwrap());
}

#[tokio::test]
async fn a_chord_that_failed_keeps_its_parts_and_does_not_fail_again() {
    let (redis, backend, client) = start().await;
    claimed(&backend).await;
    backend.finish_chord("g", false).await.unwrap();
    assert_eq!(client.run::<i64>(&["ZCARD", &format!("{KEY}.j")]).await, 2);
    assert_eq!(client.get(&format!("{KEY}.s")).await, None);
    let other = Backend::connect(options(&redis)).unwrap();
    assert_eq!(count(&other, 1).await, Counted::Waiting);
}

#[tokio::test]
async fn a_chord_that_is_done_is_not_begun_again_by_who_repeats_itself() {
    let (_redis, backend, client) = start().await;
    claimed(&backend).await;
    backend.finish_chord("g", true).await.unwrap();
    backend.begin_chord("g", 2, None).await.unwrap();
    assert_eq!(client.get(&format!("{KEY}.s")).await, None);
    assert_eq!(count(&backend, 1).await, Counted::Done);
}

/// Counts a part as a Python worker does.
async fn python_counts(client: &Client, index: i64) {
    let (id, score) = (format!("t{index}"), index.to_string());
    client.run::<()>(&["ZADD", &format!("{KEY}.j"), &score, &member(&id)]).await;
    client.run::<()>(&["SADD", &format!("{KEY}.d"), &format!("{id}:{score}")]).await;
}

#[tokio::test]
async fn parts_that_python_counted_count_for_us_and_so_does_its_extra_count() {
    let (_redis, backend, client) = start().await;
    client.run::<()>(&["SET", &format!("{KEY}.s"), "2", "EX", "86400"]).await;
    client.run::<()>(&["SET", &format!("{KEY}.t"), "1"]).await;
    python_counts(&client, 0).await;
    assert_eq!(count(&backend, 0).await, Counted::Waiting);
    assert_eq!(count(&backend, 2).await, Counted::Waiting);
    assert_eq!(count(&backend, 1).await, complete(3));
}

#[tokio::test]
async fn a_part_that_comes_again_waits_for_a_python_workers_claim_and_takes_it_over_where_that_died() {
    let (_redis, backend, client) = start().await;
    for dies in [false, true] {
        client.run::<()>(&["FLUSHALL"]).await;
        backend.begin_chord("g", 2, None).await.unwrap();
        python_counts(&client, 0).await;
        python_counts(&client, 1).await;
        client.run::<()>(&["SET", &format!("{KEY}.c"), "ea135d60c0114d56916b7c0d8aca13ff", "NX", "EX", "60"]).await;
        let mut again = pin!(count(&backend, 1));
        still_waits(&mut again).await;
        match dies {
            false => client.run::<()>(&["SET", &format!("{KEY}.c"), "done", "EX", "300"]).await,
            true => client.run::<()>(&["DEL", &format!("{KEY}.c")]).await,
        }
        let told = timeout(PATIENCE, again).await.unwrap();
        assert_eq!(told, if dies { complete(2) } else { Counted::Done });
    }
}

#[tokio::test]
async fn a_part_without_a_place_comes_last() {
    let (_redis, backend, client) = start().await;
    backend.begin_chord("g", 2, None).await.unwrap();
    let nowhere = Part { group: "g", id: "t1", index: None, member: &member("t1") };
    assert_eq!(backend.chord_part(&nowhere).await.unwrap(), Counted::Waiting);
    assert_eq!(client.run::<Vec<String>>(&["SMEMBERS", &format!("{KEY}.d")]).await, ["t1:+inf"]);
    assert_eq!(count(&backend, 0).await, complete(2));
}

#[tokio::test]
async fn groups_in_the_header_are_told_as_celery_saved_them() {
    let (_redis, backend, client) = start().await;
    let saved = r#"{"result": [["g", null], [[["t0", null], null]]]}"#;
    client.run::<()>(&["SET", KEY, saved]).await;
    backend.begin_chord("g", 1, None).await.unwrap();
    assert_eq!(count(&backend, 0).await, Counted::Nested(saved.to_owned(), vec![member("t0")]));
}

#[tokio::test]
async fn without_order_the_parts_are_a_list_and_a_mixture_is_an_error_that_counts_nothing() {
    let (redis, ordered, client) = start().await;
    let unordered = Backend::connect(Options { ordered_chords: false, ..options(&redis) }).unwrap();
    ordered.begin_chord("g", 2, None).await.unwrap();
    assert_eq!(count(&unordered, 1).await, Counted::Waiting);
    match ordered.chord_part(&Part { group: "g", id: "t0", index: Some(0), member: &member("t0") }).await {
        Err(Error::Refused { doing, reason, .. }) => {
            assert!(doing.contains("chord") && reason.contains("WRONGTYPE"), "{doing}: {reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.run::<i64>(&["SCARD", &format!("{KEY}.d")]).await, 1);
    let both = [1, 0].map(|index| member(&format!("t{index}")));
    assert_eq!(count(&unordered, 0).await, Counted::Complete(both.to_vec()));
}

#[tokio::test]
async fn the_counters_of_a_dead_redis_that_writes_down_go_on_where_they_were() {
    let mut redis = OwnRedis::start_with(Server { persistence: true, ..Server::default() }).await;
    let backend = Backend::connect(options(&redis)).unwrap();
    backend.begin_chord("g", 4, None).await.unwrap();
    for index in 0..3 {
        assert_eq!(count(&backend, index).await, Counted::Waiting);
        redis
            .with(|server| {
                server.kill();
                server.start_again()
            })
            .await;
    }
    assert_eq!(count(&backend, 3).await, complete(4));
    backend.finish_chord("g", true).await.unwrap();
    let client = redis.client().await;
    eventually("the chord is done", PATIENCE, async || {
        client.get(&format!("{KEY}.c")).await.as_deref() == Some("done")
    })
    .await;
}
