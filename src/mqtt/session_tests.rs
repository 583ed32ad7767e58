//! Tests of the session against a model that watches every byte, id and fate: any order of events, no runtime, no clock.

use super::fate::{Fate, NotSent, Notify, Progress, Watcher};
use super::message::{Message, Qos};
use super::packet::{Accepted, Incoming, Outgoing};
use super::publish::{Class, Publication};
use super::pulse::Stall;
use super::session::{Limits, Op, Session};
use super::subscription::{Reader, ReaderKind, Shared};
use crate::topic::{TopicFilter, TopicName};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const ACK_TIMEOUT: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(5);
const MAX_INFLIGHT: usize = 6;

fn limits() -> Limits {
    Limits {
        keep_alive: Duration::from_secs(60),
        ack_timeout: ACK_TIMEOUT,
        linger: LINGER,
        queue: 100,
        max_inflight: MAX_INFLIGHT,
        filters_per_subscribe: 3,
        kept_session: true,
    }
}

fn accepted(receive_maximum: u16, session_present: bool) -> Accepted {
    Accepted {
        session_present,
        receive_maximum,
        max_packet: 1000,
        max_qos: Qos::AtLeastOnce,
        retain: true,
        keep_alive: None,
        subscription_ids: true,
    }
}

/// Who follows the publishes: what each went through, and which are wanted no more.
#[derive(Default)]
struct Book {
    heard: Mutex<HashMap<u128, Vec<Progress>>>,
    withdrawn: Mutex<HashSet<u128>>,
}

impl Book {
    fn fate(&self, key: u128) -> Option<Fate> {
        match self.heard.lock().unwrap().get(&key)?.last()? {
            Progress::Done(fate) => Some(fate.clone()),
            _ => None,
        }
    }
}

impl Watcher for Book {
    fn progress(&self, key: u128, progress: Progress) {
        self.heard.lock().unwrap().entry(key).or_default().push(progress);
    }

    fn wants(&self, key: u128) -> bool {
        !self.withdrawn.lock().unwrap().contains(&key)
    }
}

fn publication(book: &Arc<Book>, key: u128, qos: Qos, class: Class, not_after: Option<Instant>) -> Publication {
    Publication {
        topic: TopicName::new("t").unwrap(),
        payload: key.to_be_bytes().to_vec().into(),
        qos,
        retain: false,
        properties: None,
        expires: None,
        not_after,
        permit: None,
        class,
        notify: Notify::Watcher(book.clone(), key),
    }
}

fn key_of(publication: &Publication) -> u128 {
    u128::from_be_bytes(publication.payload.as_ref().try_into().unwrap())
}

#[derive(Clone, Debug, PartialEq)]
enum Packet {
    Publish { key: u128, pkid: u16, start: u64, end: u64 },
    PubAck(u16),
    Subscribe(u16, Vec<String>),
    Unsubscribe(u16, Vec<String>),
    Ping,
}

/// The socket's buffer: takes 20 bytes for any packet, and calls itself full at 100.
#[derive(Default)]
struct Wire {
    position: u64,
    written: u64,
    packets: Vec<Packet>,
}

impl Wire {
    fn put(&mut self, packet: impl FnOnce(u64, u64) -> Packet) {
        let start = self.position;
        self.position += 20;
        self.packets.push(packet(start, self.position));
    }
}

impl Outgoing for Wire {
    fn publish(&mut self, pkid: u16, publication: &Publication, _: Option<u32>) {
        self.put(|start, end| Packet::Publish { key: key_of(publication), pkid, start, end });
    }
    fn puback(&mut self, pkid: u16) {
        self.put(|_, _| Packet::PubAck(pkid));
    }
    fn subscribe(&mut self, pkid: u16, filters: &[&TopicFilter], _: Qos, _: Option<u32>) {
        self.put(|_, _| Packet::Subscribe(pkid, filters.iter().map(ToString::to_string).collect()));
    }
    fn unsubscribe(&mut self, pkid: u16, filters: &[&TopicFilter]) {
        self.put(|_, _| Packet::Unsubscribe(pkid, filters.iter().map(ToString::to_string).collect()));
    }
    fn ping(&mut self) {
        self.put(|_, _| Packet::Ping);
    }
    fn position(&self) -> u64 {
        self.position
    }
    fn is_full(&self) -> bool {
        self.position - self.written >= 100
    }
}

#[derive(Clone, Debug)]
enum Event {
    Publish { qos0: bool, bulk: bool, within_ms: Option<u64> },
    Withdraw(prop::sample::Index),
    Subscribe(u8),
    Release(prop::sample::Index),
    Pass(u64),
    Write(u64),
    Ack(prop::sample::Index, u8),
    AckOfNothing(u16),
    AnswerSubscription(prop::sample::Index, bool),
    Up { window: u16, session_present: bool },
    Down,
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (any::<bool>(), any::<bool>(), prop::option::of(1..3000u64))
            .prop_map(|(qos0, bulk, within_ms)| Event::Publish { qos0, bulk, within_ms }),
        1 => index().prop_map(Event::Withdraw),
        2 => (0..5u8).prop_map(Event::Subscribe),
        2 => index().prop_map(Event::Release),
        3 => prop_oneof![4 => 0..2000u64, 1 => 0..40_000u64].prop_map(Event::Pass),
        6 => (1..120u64).prop_map(Event::Write),
        6 => (index(), prop::sample::select(vec![0u8, 0x10, 0x80, 0x97])).prop_map(|(i, code)| Event::Ack(i, code)),
        1 => any::<u16>().prop_map(Event::AckOfNothing),
        4 => (index(), any::<bool>()).prop_map(|(i, ok)| Event::AnswerSubscription(i, ok)),
        2 => (1..9u16, any::<bool>()).prop_map(|(window, session_present)| Event::Up { window, session_present }),
        1 => Just(Event::Down),
    ]
}

/// The world around a session, and what it knows must hold.
struct World {
    session: Session,
    book: Arc<Book>,
    now: Instant,
    wire: Option<Wire>,
    window: usize,
    deadlines: BTreeMap<u128, Option<Instant>>,
    /// QoS 1 publishes on this connection without PUBACK: id, key, first byte, when handed over.
    unacked: BTreeMap<u16, (u128, u64, Instant)>,
    /// Subscription packets on this connection without answer; whether it is a SUBSCRIBE, and its filters.
    asked: BTreeMap<u16, (bool, Vec<String>)>,
    /// Where each key's bytes are on this connection.
    handed: BTreeMap<u128, (u64, u64)>,
    readers: Vec<u64>,
    last_reader: u64,
}

impl World {
    fn new() -> Self {
        Self {
            session: Session::new(limits()),
            book: Arc::default(),
            now: Instant::now(),
            wire: None,
            window: 0,
            deadlines: BTreeMap::new(),
            unacked: BTreeMap::new(),
            asked: BTreeMap::new(),
            handed: BTreeMap::new(),
            readers: Vec::new(),
            last_reader: 0,
        }
    }

    fn publish(&mut self, qos: Qos, class: Class, within: Option<Duration>) -> u128 {
        let key = self.deadlines.len() as u128;
        let not_after = within.map(|within| self.now + within);
        self.deadlines.insert(key, not_after);
        self.session.on_op(Op::Publish(publication(&self.book, key, qos, class, not_after)));
        key
    }

    fn subscribe(&mut self, filter: &str) -> oneshot::Receiver<Result<(), super::Error>> {
        self.last_reader += 1;
        self.readers.push(self.last_reader);
        let (granted, answer) = oneshot::channel();
        let to = ReaderKind::Stream { messages: mpsc::channel(1).0, shared: Arc::new(Shared::default()) };
        let reader = Reader { id: self.last_reader, to };
        self.session.on_op(Op::Subscribe { filter: TopicFilter::new(filter).unwrap(), reader, granted });
        answer
    }

    fn up(&mut self, window: u16, session_present: bool) {
        self.wire = Some(Wire::default());
        self.window = usize::from(window).min(MAX_INFLIGHT);
        self.session.on_up(accepted(window, session_present), self.now);
    }

    fn down(&mut self) {
        let Some(wire) = self.wire.take() else { return };
        self.session.on_down(wire.written);
        for (key, (start, end)) in std::mem::take(&mut self.handed) {
            let heard = self.book.heard.lock().unwrap()[&key].last().cloned();
            match heard {
                Some(Progress::Recalled) => assert!(start >= wire.written, "{key} recalled although bytes of it left"),
                Some(Progress::Done(Fate::Unknown)) => {
                    assert!(start < wire.written, "{key} unknown without a byte out")
                }
                Some(Progress::Done(Fate::Written)) => {
                    assert!(end <= wire.written, "{key} written with a byte missing")
                }
                other => panic!("{key} was lost with the connection and heard {other:?}"),
            }
        }
        self.unacked.clear();
        self.asked.clear();
    }

    fn ack(&mut self, pkid: u16, code: u8) {
        let Some(wire) = &self.wire else { return };
        let written = wire.written;
        self.session.on_packet(Incoming::PubAck { pkid, code, reason: String::new() }, self.now);
        let Some((key, start, _)) = self.unacked.get(&pkid).copied() else { return };
        if start >= written {
            assert!(matches!(self.book.fate(key), None | Some(Fate::Unknown)), "acknowledged before it left");
            return;
        }
        self.unacked.remove(&pkid);
        self.handed.remove(&key);
        let fate = self.book.fate(key).unwrap();
        match code {
            _ if fate == Fate::Unknown => {}
            0x10 => assert_eq!(fate, Fate::NoSubscribers),
            0x80.. => assert!(matches!(fate, Fate::Refused(refusal) if refusal.code == code)),
            _ => assert_eq!(fate, Fate::Acknowledged),
        }
    }

    fn answer_subscription(&mut self, pkid: u16, granted: bool) {
        let Some((is_subscribe, filters)) = self.asked.remove(&pkid) else { return };
        let grant = if granted { Ok(Qos::AtLeastOnce) } else { Err((0x87, "no".to_owned())) };
        let packet = match is_subscribe {
            true => Incoming::SubAck { pkid, grants: vec![grant; filters.len()] },
            false => Incoming::UnsubAck { pkid },
        };
        self.session.on_packet(packet, self.now);
    }

    fn write(&mut self, bytes: u64) {
        let Some(wire) = &mut self.wire else { return };
        wire.written = (wire.written + bytes).min(wire.position);
        let written = wire.written;
        self.session.on_written(written, self.now);
        let book = &self.book;
        self.handed.retain(|key, (_, end)| {
            let fate = book.fate(*key);
            assert!(fate != Some(Fate::Written) || *end <= written, "{key} written too early");
            fate.is_none()
        });
    }

    /// Lets the session do what it does on every turn of its loop, and checks all that it puts on the wire.
    fn turn(&mut self) -> Vec<Packet> {
        let stall = if self.session.next_deadline().is_some_and(|at| at <= self.now) {
            self.session.on_tick(self.now)
        } else {
            None
        };
        for (key, _, handed) in self.unacked.values() {
            if self.now >= *handed + ACK_TIMEOUT {
                assert_eq!(self.book.fate(*key), Some(Fate::Unknown), "{key} waits for its PUBACK for ever");
                self.handed.remove(key);
            }
        }
        if stall.is_some() {
            self.down();
        }
        let Some(mut wire) = self.wire.take() else { return Vec::new() };
        self.session.fill(self.now, &mut wire);
        let packets = std::mem::take(&mut wire.packets);
        self.wire = Some(wire);
        for packet in &packets {
            self.check(packet);
        }
        packets
    }

    fn check(&mut self, packet: &Packet) {
        let free = |world: &Self, pkid: u16| {
            assert!(
                pkid != 0 && !world.unacked.contains_key(&pkid) && !world.asked.contains_key(&pkid),
                "{pkid} twice"
            );
        };
        match packet.clone() {
            Packet::Publish { key, pkid, start, end } => {
                assert!(self.book.fate(key).is_none(), "{key} sent after its end");
                assert!(self.handed.insert(key, (start, end)).is_none(), "{key} sent twice");
                assert!(self.book.wants(key), "{key} sent although withdrawn");
                assert!(self.deadlines[&key].is_none_or(|at| at > self.now), "{key} sent late");
                assert!(self.session.is_up(), "{key} sent before the subscriptions were renewed");
                let heard = self.book.heard.lock().unwrap()[&key].last().cloned();
                assert!(matches!(heard, Some(Progress::Handed(at)) if at == self.now));
                if pkid != 0 {
                    free(self, pkid);
                    self.unacked.insert(pkid, (key, start, self.now));
                    assert!(self.unacked.len() <= self.window, "over the broker's receive maximum");
                }
            }
            Packet::Subscribe(pkid, filters) | Packet::Unsubscribe(pkid, filters) => {
                free(self, pkid);
                let under_way: BTreeSet<_> = self.asked.values().flat_map(|(_, filters)| filters).collect();
                assert!(filters.iter().all(|filter| !under_way.contains(filter)), "{filters:?} under way twice");
                assert!(filters.len() <= 3 && !filters.is_empty());
                self.asked.insert(pkid, (matches!(packet, Packet::Subscribe(..)), filters));
            }
            Packet::PubAck(_) | Packet::Ping => {}
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Publish { qos0, bulk, within_ms } => {
                let qos = if qos0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                let class = if bulk { Class::Bulk } else { Class::Interactive };
                self.publish(qos, class, within_ms.map(Duration::from_millis));
            }
            Event::Withdraw(which) if !self.deadlines.is_empty() => {
                let key = which.index(self.deadlines.len()) as u128;
                self.book.withdrawn.lock().unwrap().insert(key);
            }
            Event::Subscribe(which) => drop(self.subscribe(["a", "b", "c/+", "d/#", "e"][usize::from(which)])),
            Event::Release(which) if !self.readers.is_empty() => {
                let reader = self.readers.swap_remove(which.index(self.readers.len()));
                self.session.on_release(reader, self.now);
            }
            Event::Pass(ms) => self.now += Duration::from_millis(ms),
            Event::Write(bytes) => self.write(bytes),
            Event::Ack(which, code) if !self.unacked.is_empty() => {
                let pkid = *which.get(&self.unacked.keys().copied().collect::<Vec<_>>());
                self.ack(pkid, code);
                // Once more: a duplicate changes nothing.
                self.ack(pkid, 0);
            }
            Event::AckOfNothing(pkid) if !self.unacked.contains_key(&pkid) => {
                let (now, reason) = (self.now, String::new());
                self.session.on_packet(Incoming::PubAck { pkid, code: 0, reason }, now);
                if !self.asked.contains_key(&pkid) {
                    self.session.on_packet(Incoming::SubAck { pkid, grants: vec![Ok(Qos::AtMostOnce)] }, now);
                    self.session.on_packet(Incoming::UnsubAck { pkid }, now);
                }
            }
            Event::AnswerSubscription(which, granted) if !self.asked.is_empty() => {
                let pkid = *which.get(&self.asked.keys().copied().collect::<Vec<_>>());
                self.answer_subscription(pkid, granted);
            }
            Event::Up { window, session_present } if self.wire.is_none() => self.up(window, session_present),
            Event::Down => self.down(),
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_publish_has_one_fate_and_nothing_leaves_that_may_not(
        events in prop::collection::vec((event(), any::<bool>()), 1..120),
    ) {
        let mut world = World::new();
        for (event, turn) in events {
            world.apply(event);
            if turn {
                world.turn();
            }
        }
        world.down();
        world.session.close();
        let heard = world.book.heard.lock().unwrap();
        for key in world.deadlines.keys() {
            let heard = heard.get(key).map_or(&[][..], Vec::as_slice);
            let ends = heard.iter().filter(|progress| matches!(progress, Progress::Done(_))).count();
            prop_assert!(ends == 1 && matches!(heard.last(), Some(Progress::Done(_))), "{} heard {:?}", key, heard);
            let handed = heard.iter().filter(|p| matches!(p, Progress::Handed(_))).count();
            let recalled = heard.iter().filter(|p| **p == Progress::Recalled).count();
            let unsent = matches!(heard.last(), Some(Progress::Done(Fate::NotSent(_))));
            prop_assert_eq!(handed - recalled, usize::from(!unsent), "{} heard {:?}", key, heard);
        }
        prop_assert_eq!(world.session.subscription_counts(), (0, 0));
    }

    #[test]
    fn while_the_broker_does_its_part_everything_in_time_is_sent_and_acknowledged(
        events in prop::collection::vec(event(), 1..80), window in 1..9u16,
    ) {
        let mut world = World::new();
        world.up(window, false);
        let quiet = (0..200).map(|_| None);
        for event in events.into_iter().map(Some).chain(quiet) {
            if let Some(event) = event.filter(|e| !matches!(e, Event::Down | Event::Pass(_) | Event::Withdraw(_))) {
                world.apply(event);
            }
            world.turn();
            world.write(u64::MAX / 2);
            let answered: Vec<_> = world.asked.keys().copied().collect();
            answered.into_iter().for_each(|pkid| world.answer_subscription(pkid, true));
            let acked: Vec<_> = world.unacked.keys().copied().collect();
            acked.into_iter().for_each(|pkid| world.ack(pkid, 0));
        }
        for key in world.deadlines.keys() {
            let fate = world.book.fate(*key);
            prop_assert!(matches!(
                fate,
                Some(Fate::Acknowledged | Fate::Written | Fate::NoSubscribers | Fate::Refused(_))
            ), "{} came to {:?}", key, fate);
        }
        prop_assert!(world.session.is_drained());
    }
}

fn keys(packets: &[Packet]) -> Vec<u128> {
    packets.iter().filter_map(|p| if let Packet::Publish { key, .. } = p { Some(*key) } else { None }).collect()
}

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
