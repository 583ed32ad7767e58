//! Publishes over which the broker closes the channel: only they fail.

use super::*;
use futures_util::future::join_all;
use switchboard::amqp::PublishError;

fn to(exchange: &str, routing_key: &str) -> Address {
    Address { exchange: exchange.to_owned(), routing_key: routing_key.to_owned() }
}

/// Publishes 500 good messages and among them, three times, what `bad` makes; the good ones must all be confirmed.
async fn only_the_bad_fail(publisher: &Publisher, name: &str, bad: impl Fn() -> (Address, Envelope)) -> Vec<String> {
    let publishes = (0..500).map(|number| {
        let (to, envelope) = if number % 200 == 50 { bad() } else { (Address::queue(name), message(number)) };
        publisher.publish(to, envelope, true)
    });
    let confirms = timeout(PATIENCE, join_all(publishes)).await.expect("nobody waits for ever");
    let mut reasons = Vec::new();
    for (number, confirm) in confirms.into_iter().enumerate() {
        match confirm {
            Ok(confirm) => assert!(confirm.routed && number % 200 != 50, "message {number}: {confirm:?}"),
            Err(PublishError::Refused { reason }) if number % 200 == 50 => reasons.push(reason),
            Err(error) => panic!("message {number}: {error}"),
        }
    }
    assert_eq!(reasons.len(), 3);
    reasons
}

#[tokio::test]
async fn an_exchange_that_does_not_exist_costs_only_the_messages_to_it() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    let reasons = only_the_bad_fail(&publisher, &name, || (to("no-such-exchange", "k"), message("bad"))).await;
    assert!(reasons[0].contains("no-such-exchange"), "{}", reasons[0]);
}

#[tokio::test]
async fn a_property_that_the_broker_refuses_costs_only_its_own_message() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    let publisher = Publisher::start(connection.clone(), options("", &name));
    let bad = || (Address::queue(name.as_str()), Envelope { expiration: Some("soon".to_owned()), ..message("bad") });
    let reasons = only_the_bad_fail(&publisher, &name, bad).await;
    assert!(reasons[0].contains("expiration"), "{}", reasons[0]);
}

#[tokio::test]
async fn a_target_that_is_forbidden_costs_only_the_messages_to_it() {
    let (connection, name) = connect("declare").await;
    queue(&name, QueueKind::Quorum, &[]).apply(&connection).await.unwrap();
    ctl(&["-q", "add_user", &name, "secret"]).await;
    ctl(&["-q", "set_permissions", "-p", "/", &name, "^$", r"^amq\.default$", ".*"]).await;
    let node = rabbitmq::shared().await;
    let url = format!("amqp://{name}:secret@127.0.0.1:{}/%2f", node.port());
    let restricted = Connection::start(options(&url, &name), "publish");
    let publisher = Publisher::start(restricted.clone(), options("", &name));
    let reasons = only_the_bad_fail(&publisher, &name, || (to("amq.fanout", "k"), message("bad"))).await;
    assert!(reasons[0].contains("amq.fanout"), "{}", reasons[0]);

    // What may only be read is used as it is.
    let mut other = queue(&name, QueueKind::Quorum, &[("x-max-length", Value::Int(5))]);
    let report = other.apply(&restricted).await.unwrap();
    assert!(matches!(&report.queues[0].comparison, switchboard::amqp::Comparison::NotCompared(_)), "{report:?}");
    other.declare = false;
    other.apply(&restricted).await.unwrap();
}

#[tokio::test]
async fn the_pool_says_of_each_message_what_became_of_it() {
    let (connection, name) = connect("publish").await;
    queue(&name, QueueKind::Classic, &[]).apply(&connection).await.unwrap();
    let pool = ChannelPool::new(connection.clone());
    let publishes = (0..60).map(|number| {
        let to = match number % 3 {
            0 => Address::queue(name.as_str()),
            1 => Address::queue(format!("{name}.nowhere")),
            _ => to("no-such-exchange", "k"),
        };
        pool.publish_routed(to, message(number), PATIENCE)
    });
    for (number, routing) in join_all(publishes).await.into_iter().enumerate() {
        match (number % 3, routing) {
            (0, Ok(Routing::Routed)) | (1, Ok(Routing::Unroutable)) | (2, Err(PublishError::Refused { .. })) => {}
            (_, other) => panic!("message {number}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_pool_tries_again_after_a_nack_and_gives_up_in_time() {
    let (connection, name) = connect("publish").await;
    let limited: [(&str, Value); 2] = [("x-max-length", Value::Int(1)), ("x-overflow", "reject-publish".into())];
    queue(&name, QueueKind::Classic, &limited).apply(&connection).await.unwrap();
    let pool = ChannelPool::new(connection.clone());
    assert_eq!(pool.publish_routed(Address::queue(name.as_str()), message(1), PATIENCE).await, Ok(Routing::Routed));
    let refused = pool.publish_routed(Address::queue(name.as_str()), message(2), Duration::from_millis(300)).await;
    assert!(matches!(&refused, Err(PublishError::TimedOut { last }) if last.contains("full")), "{refused:?}");
    let waiting = pool.publish_routed(Address::queue(name.as_str()), message(3), PATIENCE);
    let purge = ["-q", "purge_queue", name.as_str()];
    let (routing, _) = tokio::join!(waiting, ctl(&purge));
    assert_eq!(routing, Ok(Routing::Routed));
}
