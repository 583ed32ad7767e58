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
async fn a_wait_that_is_given_up_at_any_point_costs_no_reply() {
    let (connection, name) = connect("call").await;
    // Every reply is acked by itself, so that a wait is often given up during an ack.
    let mut replies = ReplyQueue::open(&connection, 2).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    for number in 0..100 {
        assert!(publisher.publish(Address::queue(replies.name()), message(number), true).await.unwrap().routed);
    }
    let mut came = 0;
    let all = async {
        while came < 100 {
            tokio::select! {
                biased;
                reply = replies.next_within(PATIENCE) => {
                    assert_eq!(reply.unwrap().expect("a reply"), message(came));
                    came += 1;
                }
                () = tokio::task::yield_now() => {}
            }
        }
    };
    let done = tokio::time::timeout(PATIENCE, all).await;
    assert!(done.is_ok(), "{came} of 100 came");
}

#[tokio::test]
async fn a_lost_connection_is_an_error_and_not_a_long_silence() {
    let (connection, name) = connect("call").await;
    let mut replies = ReplyQueue::open(&connection, 8).await.unwrap();
    let (next, ()) = tokio::join!(replies.next_within(PATIENCE), force_close(&name, "call"));
    assert!(next.is_err());
}
