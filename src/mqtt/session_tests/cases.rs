//! One sequence each, for what a user would notice.

use super::{ACK_TIMEOUT, Packet, Wire, World, accepted, keys, limits, publication};
use crate::mqtt::fate::{Fate, NotSent};
use crate::mqtt::message::{Message, Qos};
use crate::mqtt::packet::{Accepted, Incoming};
use crate::mqtt::publication::{Class, Publication};
use crate::mqtt::pulse::Stall;
use crate::mqtt::reader::{Reader, ReaderKind};
use crate::mqtt::session::Op;
use crate::topic::TopicFilter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

#[test]
fn one_whose_bytes_began_to_leave_is_unknown_and_the_next_one_is_sent_once_on_the_next_connection_in_its_order() {
    let mut world = World::new();
    world.up(10, false);
    let sent: Vec<_> = (0..3).map(|_| world.publish(Qos::AtLeastOnce, Class::Interactive, None)).collect();
    assert_eq!(keys(&world.turn()), sent);
    world.write(21);
    world.down();
    assert_eq!(world.book.fate(0), Some(Fate::Unknown));
    assert_eq!(world.book.fate(1), Some(Fate::Unknown), "one byte is enough");
    let later = world.publish(Qos::AtLeastOnce, Class::Interactive, None);
    world.up(10, true);
    assert_eq!(keys(&world.turn()), [2, later]);
}

#[test]
fn what_waits_through_an_outage_expires_on_time_and_is_never_sent() {
    let mut world = World::new();
    let key = world.publish(Qos::AtLeastOnce, Class::Interactive, Some(Duration::from_millis(100)));
    world.now = world.session.next_deadline().unwrap();
    assert!(world.now <= world.deadlines[&key].unwrap() + Duration::from_millis(10));
    world.turn();
    assert_eq!(world.book.fate(key), Some(Fate::NotSent(NotSent::Expired)));
    world.up(10, false);
    assert_eq!(keys(&world.turn()), []);
    assert_eq!(world.session.room(), limits().queue, "its place is given back");
}

#[test]
fn a_publish_at_its_deadline_is_late() {
    let mut world = World::new();
    let key = world.publish(Qos::AtMostOnce, Class::Interactive, Some(Duration::from_millis(100)));
    world.now += Duration::from_millis(100);
    world.up(10, false);
    let mut wire = world.wire.take().unwrap();
    world.session.fill(world.now, &mut wire);
    assert_eq!(wire.packets, []);
    assert_eq!(world.book.fate(key), Some(Fate::NotSent(NotSent::Expired)));
}

#[test]
fn what_the_broker_does_not_take_is_refused_here_and_costs_no_connection() {
    let mut world = World::new();
    world.wire = Some(Wire::default());
    world.session.on_up(Accepted { retain: false, max_packet: 50, ..accepted(10, false) }, world.now);
    let (book, now) = (world.book.clone(), world.now);
    let kept = Publication { retain: true, ..publication(&book, 1, Qos::AtLeastOnce, Class::Interactive, None) };
    let payload = vec![0; 50].into();
    let large = Publication { payload, ..publication(&book, 2, Qos::AtLeastOnce, Class::Interactive, None) };
    world.session.on_op(Op::Publish(kept));
    world.session.on_op(Op::Publish(large));
    world.session.fill(now, world.wire.as_mut().unwrap());
    assert_eq!(world.wire.unwrap().packets, []);
    assert!(matches!(book.fate(1), Some(Fate::Refused(refusal)) if refusal.code == 0x9A));
    assert!(matches!(book.fate(2), Some(Fate::NotSent(NotSent::TooLarge { limit: 50, .. }))));
}

#[test]
fn bulk_lets_interactive_pass_and_still_gets_its_turn_and_never_the_whole_window() {
    let mut world = World::new();
    world.up(4, false);
    for _ in 0..40 {
        world.publish(Qos::AtLeastOnce, Class::Bulk, None);
    }
    assert_eq!(keys(&world.turn()), [0, 1, 2], "a quarter of the window is kept for whoever waits for an answer");
    let asked: Vec<_> = (0..40).map(|_| world.publish(Qos::AtLeastOnce, Class::Interactive, None)).collect();
    assert_eq!(keys(&world.turn()), asked[..1]);
    let mut order = Vec::new();
    for _ in 0..60 {
        world.write(1000);
        let pkid = *world.unacked.keys().next().unwrap();
        world.ack(pkid, 0);
        order.extend(keys(&world.turn()));
    }
    let first_bulk = order.iter().position(|key| *key < 40).unwrap();
    assert!(first_bulk <= 12, "bulk starves: {order:?}");
    let interactive = order.iter().take(45).filter(|key| **key >= 40).count();
    assert!(interactive >= 35, "interactive starves: {order:?}");
}

#[test]
fn a_broker_that_withholds_its_pubacks_blocks_nobody_for_ever() {
    let mut world = World::new();
    world.up(2, false);
    let lost = [0, 1].map(|_| world.publish(Qos::AtLeastOnce, Class::Interactive, None));
    world.turn();
    world.write(1000);
    world.session.on_packet(Incoming::Pong, world.now);
    assert!(world.session.next_deadline().unwrap() <= world.now + ACK_TIMEOUT);
    world.now += ACK_TIMEOUT;
    assert_eq!(world.session.on_tick(world.now), Some(Stall::Unacknowledged), "the whole window is gone");
    assert_eq!(lost.map(|key| world.book.fate(key)), [Some(Fate::Unknown), Some(Fate::Unknown)]);
    // With one of them acknowledged after all, there is a place in the window again, and the connection goes on.
    world.handed.clear();
    world.ack(1, 0);
    assert_eq!(world.session.on_tick(world.now), None);
    let next = world.publish(Qos::AtLeastOnce, Class::Interactive, None);
    assert_eq!(keys(&world.turn()), [next]);
}

#[test]
fn a_broker_that_answers_no_subscription_is_given_up() {
    let mut world = World::new();
    world.up(2, false);
    let _granted = world.subscribe("a");
    assert_eq!(world.turn().len(), 1);
    world.write(1000);
    world.now += ACK_TIMEOUT;
    world.session.on_packet(Incoming::Pong, world.now);
    assert_eq!(world.session.on_tick(world.now), Some(Stall::UnansweredSubscription));
}

#[test]
fn publishes_wait_until_every_subscription_of_before_is_granted_again_or_refused() {
    let mut world = World::new();
    let _kept = (world.subscribe("a"), world.subscribe("c/+"));
    let key = world.publish(Qos::AtLeastOnce, Class::Interactive, None);
    world.up(5, false);
    let packets = world.turn();
    assert!(matches!(&packets[..], [Packet::Subscribe(..), Packet::Subscribe(..)]), "{packets:?}");
    world.answer_subscription(1, true);
    assert_eq!(keys(&world.turn()), []);
    world.answer_subscription(2, false);
    assert_eq!(keys(&world.turn()), [key]);
}

#[test]
fn a_repeat_after_a_reconnect_is_acknowledged_and_taken_once() {
    let mut world = World::new();
    world.up(5, false);
    let (messages, mut stream) = mpsc::channel(10);
    let (granted, _answer) = oneshot::channel();
    let reader = Reader { id: 1, to: ReaderKind::Stream { messages, shared: Arc::default() } };
    world.session.on_op(Op::Subscribe { filter: TopicFilter::new("a").unwrap(), reader, granted });
    let message = Message::new("a".into(), "x".into(), Qos::AtLeastOnce, false, None).unwrap();
    let packet = |dup| Incoming::Publish { message: message.clone(), pkid: 9, dup, subscription_ids: vec![] };
    world.session.on_packet(packet(false), world.now);
    world.down();
    world.up(5, true);
    world.session.on_packet(packet(true), world.now);
    assert!(world.turn().contains(&Packet::PubAck(9)));
    assert!(stream.try_recv().is_ok() && stream.try_recv().is_err());
    world.down();
    world.up(5, false);
    world.session.on_packet(packet(true), world.now);
    assert!(stream.try_recv().is_ok(), "a new session repeats nothing of the old one");
}

#[test]
fn a_message_too_large_is_acknowledged_or_it_would_come_for_ever() {
    let mut world = World::new();
    world.up(5, false);
    world.session.on_packet(Incoming::Oversized { pkid: 3, size: 1 << 30 }, world.now);
    world.session.on_packet(Incoming::Oversized { pkid: 0, size: 1 << 30 }, world.now);
    assert_eq!(world.turn(), [Packet::PubAck(3)]);
}

#[test]
fn a_silent_connection_is_pinged_once_and_then_given_up() {
    let mut world = World::new();
    world.up(5, false);
    let mut pings = 0;
    let stall = loop {
        world.now = world.session.next_deadline().unwrap().max(world.now);
        if let Some(stall) = world.session.on_tick(world.now) {
            break stall;
        }
        let mut wire = world.wire.take().unwrap();
        world.session.fill(world.now, &mut wire);
        wire.written = wire.position;
        pings += std::mem::take(&mut wire.packets).iter().filter(|packet| **packet == Packet::Ping).count();
        world.session.on_written(wire.written, world.now);
        world.wire = Some(wire);
    };
    assert_eq!((stall, pings), (Stall::Silent, 1));
}
