//! Queues that are missing, as wanted, or otherwise.

use super::*;
use switchboard::amqp::{Comparison, Difference, Error};

#[tokio::test]
async fn a_missing_queue_is_made_once_and_then_the_same() {
    let (connection, name) = connect("declare").await;
    for kind in [QueueKind::Quorum, QueueKind::Classic] {
        let jobs = jobs(&format!("{name}.{kind:?}"), kind);
        let comparisons = |report: switchboard::amqp::Report| {
            report.queues.into_iter().map(|queue| queue.comparison).collect::<Vec<_>>()
        };
        assert_eq!(comparisons(jobs.apply(&connection).await.unwrap()), [Comparison::Created, Comparison::Created]);
        assert_eq!(comparisons(jobs.apply(&connection).await.unwrap()), [Comparison::Same, Comparison::Same]);
    }
}

#[tokio::test]
async fn a_queue_that_differs_is_used_as_it_is_and_the_difference_is_named() {
    let (connection, name) = connect("declare").await;
    queue(&name, QueueKind::Classic, &[]).apply(&connection).await.unwrap();
    let wanted = queue(&name, QueueKind::Quorum, &[]);
    let report = wanted.apply(&connection).await.unwrap();
    let (queue, Difference { argument, wanted: ours, found }) = report.differences().next().unwrap();
    assert_eq!(
        (queue, argument.as_str(), ours.as_str(), found.as_str()),
        (name.as_str(), "x-queue-type", "quorum", "none")
    );

    fill(&connection, &name, 1).await;
    let (_consumer, mut deliveries) = Consumer::start(connection, wanted, name, 1);
    next(&mut deliveries).await.receipt.ack();
}

#[tokio::test]
async fn another_limit_is_named_with_both_values() {
    let (connection, name) = connect("declare").await;
    let with = |limit| queue(&name, QueueKind::Classic, &[("x-max-length", Value::Int(limit))]);
    with(10).apply(&connection).await.unwrap();
    let report = with(20).apply(&connection).await.unwrap();
    let expected = Difference { argument: "x-max-length".to_owned(), wanted: "20".to_owned(), found: "10".to_owned() };
    assert_eq!(report.queues[0].comparison, Comparison::Differs(expected));
}

#[tokio::test]
async fn without_declare_a_missing_queue_is_an_error_that_names_it_and_nothing_is_made() {
    let (connection, name) = connect("declare").await;
    let mut topology = jobs(&name, QueueKind::Quorum);
    topology.declare = false;
    for _ in 0..2 {
        match topology.apply(&connection).await {
            Err(Error::MissingQueue(missing)) => assert_eq!(missing, format!("{name}.dead")),
            other => panic!("{other:?}"),
        }
    }
    let (consumer, _deliveries) = Consumer::start(connection.clone(), topology.clone(), name.clone(), 1);
    let told = reaches(
        &consumer,
        "told",
        |state| matches!(state, ConsumerState::Waiting { reason } if reason.contains("does not exist")),
    );
    told.await;
    jobs(&name, QueueKind::Quorum).apply(&connection).await.unwrap();
    consuming(&consumer).await;
}

#[tokio::test]
async fn replicas_that_declare_at_once_do_not_disturb_each_other() {
    let name = unique("amqp");
    let mut replicas = Vec::new();
    for _ in 0..6 {
        let (connection, _) = connect("consume").await;
        replicas.push(Consumer::start(connection, jobs(&name, QueueKind::Quorum), name.clone(), 5));
    }
    for (consumer, _) in &replicas {
        consuming(consumer).await;
    }
}
