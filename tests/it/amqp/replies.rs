//! A reply queue of one's own.

use super::*;
use switchboard::amqp::ReplyQueue;

#[tokio::test]
async fn replies_come_in_order_and_more_of_them_than_the_capacity() {
    let (connection, name) = connect("call").await;
    let mut replies = ReplyQueue::open(&connection, 8).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    assert_eq!(replies.next_within(Duration::from_millis(50)).await.unwrap(), None);
    for number in 0..100 {
        assert!(publisher.publish(Address::queue(replies.name()), message(number), true).await.unwrap().routed);
    }
    for number in 0..100 {
        let reply = replies.next_within(PATIENCE).await.unwrap().expect("a reply");
        assert_eq!(reply, message(number));
    }
    let gone = replies.name().to_owned();
    drop(replies);
    found("the queue is gone with its reader", PATIENCE, async || {
        let confirm = publisher.publish(Address::queue(gone.as_str()), message("late"), true).await.unwrap();
        (!confirm.routed).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_is_an_error_and_not_a_long_silence() {
    let (connection, name) = connect("call").await;
    let mut replies = ReplyQueue::open(&connection, 8).await.unwrap();
    let (next, ()) = tokio::join!(replies.next_within(PATIENCE), force_close(&name, "call"));
    assert!(next.is_err());
}
