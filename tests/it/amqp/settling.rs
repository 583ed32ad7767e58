//! What was settled before an orderly end is settled.

use super::*;
use switchboard::amqp::{Bounds, Browser};

#[tokio::test]
async fn a_burst_of_acks_before_the_end_is_not_forgotten() {
    for round in 0..4 {
        let (connection, name) = connect("settle").await;
        let topology = queue(&name, QueueKind::Quorum, &[]);
        topology.apply(&connection).await.unwrap();
        fill(&connection, &name, 300).await;
        let (consumer, mut deliveries) = Consumer::start(connection.clone(), topology, name.clone(), 300);
        let held = take(&mut deliveries, 300).await;
        consumer.stop().await;
        // The last one first, as where the oldest job takes longest: no ack covers another.
        held.into_iter().rev().for_each(|delivery| delivery.receipt.ack());
        timeout(PATIENCE, consumer.settled()).await.unwrap();
        // What comes back comes a moment after the end.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut browser =
            Browser::open(&connection, &name, Bounds { messages: 1_000, bytes: usize::MAX }).await.unwrap();
        let back = browser.next().await.unwrap().map(|held| held.envelope.message_id);
        assert_eq!(back, None, "in round {round}");
    }
}
