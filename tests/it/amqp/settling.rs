//! What was settled before an orderly end is settled.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const JOBS: usize = 300;
/// Jobs of a stream that is told to end long before.
const MOST: usize = 60_000;
/// Longer than a channel stays open that does not know whether its settlements have reached the queue.
const SUSPENDED: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_burst_of_acks_before_the_end_is_not_forgotten() {
    for _ in 0..4 {
        let (connection, name, topology) = filled("settle").await;
        let (consumer, mut deliveries) = Consumer::start(connection.clone(), topology.clone(), name.clone(), 300);
        let held = take(&mut deliveries, JOBS).await;
        consumer.stop().await;
        end(consumer, deliveries, held).await;
        nothing_is_left(connection, topology, name).await;
    }
}

#[tokio::test]
async fn a_burst_of_acks_before_an_exact_end_is_not_forgotten_where_the_queue_answers_late() {
    let (connection, name, topology) = filled("settle-late").await;
    let fillers = Publisher::start(connection.clone(), Options::default());
    let (consumer, mut deliveries) =
        Consumer::start_exact(connection.clone(), topology.clone(), name.clone(), 300, fillers);
    let held = take(&mut deliveries, JOBS).await;
    consumer.stop().await;
    suspend_queue(&name, SUSPENDED).await;
    end(consumer, deliveries, held).await;
    nothing_is_left(connection, topology, name).await;
}

#[tokio::test]
async fn a_job_that_comes_while_an_exact_end_waits_for_others_is_handed_out_and_goes_back() {
    let (connection, name, topology) = filled("settle-one").await;
    let fillers = Publisher::start(connection.clone(), Options::default());
    let (consumer, mut deliveries) =
        Consumer::start_exact(connection.clone(), topology.clone(), name.clone(), 300, fillers);
    let mut held = take(&mut deliveries, JOBS).await;
    consumer.stop().await;
    fill(&connection, &name, 2).await;
    assert!(deliveries.try_recv().is_err(), "taken while much was unsettled");
    held.drain(1..).for_each(|delivery| delivery.receipt.ack());
    let mut late = vec![next(&mut deliveries).await];
    while let Some(delivery) = timeout(PATIENCE, deliveries.recv()).await.unwrap() {
        late.push(delivery);
    }
    // Whether one channel had to be asked or two: that of the stand-in as well.
    assert!(late.len() <= 2 && late.iter().all(|delivery| !delivery.redelivered), "{late:?}");
    let returned: Vec<String> = late.iter().map(id).collect();
    late.into_iter().for_each(|delivery| delivery.receipt.requeue());
    held.into_iter().for_each(|delivery| delivery.receipt.ack());
    timeout(PATIENCE, consumer.settled()).await.unwrap();
    let (_consumer, mut deliveries) = Consumer::start(connection.clone(), topology, name.clone(), 10);
    let mut back = take(&mut deliveries, 2).await;
    back.sort_by_key(id);
    assert_eq!(back.iter().map(id).collect::<Vec<_>>(), ["0", "1"]);
    assert!(back.iter().all(|delivery| delivery.redelivered == returned.contains(&id(delivery))), "{back:?}");
}

#[tokio::test]
async fn an_exact_end_amid_a_stream_of_jobs_marks_none_as_delivered_before() {
    let (connection, name) = connect("settle-stream").await;
    let topology = queue(&name, QueueKind::Quorum, &[]);
    topology.apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), Options::default());
    let (sending, to, enough) = (publisher.clone(), name.clone(), Arc::new(AtomicBool::new(false)));
    let told = enough.clone();
    let mut stream = Some(tokio::spawn(async move {
        let mut sent = 0;
        while sent < MOST && !told.load(Ordering::Relaxed) {
            let publishes = (sent..sent + 100).map(|id| sending.publish(Address::queue(&*to), message(id), true));
            futures_util::future::try_join_all(publishes).await.unwrap();
            sent += 100;
        }
        sent
    }));
    let mut seen = 0;
    for round in 0..6 {
        let (consumer, mut deliveries) =
            Consumer::start_exact(connection.clone(), topology.clone(), name.clone(), 400, publisher.clone());
        let mut wanted = 300;
        if round == 5 {
            enough.store(true, Ordering::Relaxed);
            let sent = stream.take().unwrap().await.unwrap();
            assert!(sent < MOST, "the stream was over too soon");
            wanted = sent - seen;
        }
        for _ in 0..wanted {
            let delivery = next(&mut deliveries).await;
            assert!(!delivery.redelivered, "job {} in round {round}", id(&delivery));
            delivery.receipt.ack();
            seen += 1;
        }
        let stop = consumer.stop();
        tokio::pin!(stop);
        let mut is_stopped = false;
        loop {
            let delivery = tokio::select! {
                () = &mut stop, if !is_stopped => { is_stopped = true; continue }
                delivery = deliveries.recv() => delivery,
            };
            let Some(delivery) = delivery else { break };
            assert!(!delivery.redelivered, "job {} at the end of round {round}", id(&delivery));
            delivery.receipt.ack();
            seen += 1;
        }
        timeout(PATIENCE, consumer.settled()).await.unwrap();
    }
}

async fn filled(role: &'static str) -> (Connection, String, Topology) {
    let (connection, name) = connect(role).await;
    let topology = queue(&name, QueueKind::Quorum, &[]);
    topology.apply(&connection).await.unwrap();
    fill(&connection, &name, JOBS).await;
    (connection, name, topology)
}

/// Acks everything at once, and waits for the end of the channel.
async fn end(consumer: Consumer, mut deliveries: mpsc::Receiver<Delivery>, held: Vec<Delivery>) {
    // The last one first, as where the oldest job takes longest: few acks cover another.
    held.into_iter().rev().for_each(|delivery| delivery.receipt.ack());
    timeout(PATIENCE, consumer.settled()).await.unwrap();
    assert!(deliveries.recv().await.is_none(), "a job came out of an empty queue");
}

/// Has the process that leads a quorum queue do nothing for so long.
async fn suspend_queue(name: &str, duration: Duration) {
    let suspend = format!(
        "Asks = self(), spawn(fun() -> erlang:suspend_process(whereis('%2F_{name}')), Asks ! suspended, \
         timer:sleep({}) end), receive suspended -> ok end.",
        duration.as_millis()
    );
    assert_eq!(ctl(&["eval", &suspend]).await.trim(), "ok");
}

/// What comes back stands before what is published afterwards.
async fn nothing_is_left(connection: Connection, topology: Topology, name: String) {
    let publisher = Publisher::start(connection.clone(), Options::default());
    timeout(PATIENCE, publisher.publish(Address::queue(&*name), message("mark"), true)).await.unwrap().unwrap();
    let (_consumer, mut deliveries) = Consumer::start(connection, topology, name, 1);
    let first = next(&mut deliveries).await;
    assert_eq!((&*id(&first), first.redelivered), ("mark", false), "an acked message came back");
}
