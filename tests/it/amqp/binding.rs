//! Exchanges that queues are bound to, besides the default one.

use super::*;
use switchboard::amqp::{BindingSpec, Error, Routes};

fn bound(name: &str, routes: Routes) -> Topology {
    let binding = BindingSpec {
        queue: name.to_owned(),
        exchange: format!("{name}.x"),
        routes,
        routing_key: format!("{name}.key"),
        delayed: routes == Routes::Topic,
    };
    Topology { bindings: vec![binding], ..queue(name, QueueKind::Classic, &[]) }
}

#[tokio::test]
async fn what_is_published_to_the_exchange_arrives_and_what_is_delayed_through_it_arrives_later() {
    let (connection, name) = connect("bind").await;
    for routes in [Routes::Direct, Routes::Topic] {
        let name = format!("{name}.{routes:?}");
        let topology = bound(&name, routes);
        topology.apply(&connection).await.unwrap();
        topology.apply(&connection).await.unwrap();
        let pool = ChannelPool::new(connection.clone());
        let (_consumer, mut deliveries) = Consumer::start(connection.clone(), topology, name.clone(), 1);
        let mut keys = vec![(format!("{name}.x"), format!("{name}.key"))];
        if routes == Routes::Topic {
            // A second, as a Celery client writes it.
            let key = format!("{}1.{name}.key", "0.".repeat(27));
            keys.push(("celery_delayed_27".to_owned(), key));
        }
        for (exchange, routing_key) in keys {
            let to = Address { exchange, routing_key: routing_key.clone() };
            let routed = pool.publish_routed(to, message("m"), PATIENCE).await.unwrap();
            assert_eq!(routed, Routing::Routed);
            let delivery = next(&mut deliveries).await;
            assert_eq!(delivery.routing_key, routing_key);
            delivery.receipt.ack();
        }
    }
}

#[tokio::test]
async fn an_exchange_of_another_type_is_used_where_that_works_and_else_named_with_both_types() {
    let (connection, name) = connect("bind").await;
    bound(&name, Routes::Topic).apply(&connection).await.unwrap();
    bound(&name, Routes::Direct).apply(&connection).await.unwrap();
    let other = format!("{name}.other");
    bound(&other, Routes::Direct).apply(&connection).await.unwrap();
    let error = bound(&other, Routes::Topic).apply(&connection).await.unwrap_err();
    let Error::Queue { reason, .. } = &error else { panic!("{error}") };
    assert!(["direct", "topic", &format!("{other}.x")].iter().all(|word| reason.contains(word)), "{reason}");
}
