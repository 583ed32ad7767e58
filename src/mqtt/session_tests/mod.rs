//! Tests of the session against a model that watches every byte, id and fate: any order of events, no runtime, no clock.

mod cases;
mod properties;

use crate::mqtt::fate::{Fate, Notify, Progress, Watcher};
use crate::mqtt::message::Qos;
use crate::mqtt::packet::{Accepted, Incoming, Outgoing};
use crate::mqtt::publication::{Class, Publication};
use crate::mqtt::reader::{Reader, ReaderKind, Shared};
use crate::mqtt::session::{Limits, Op, Session};
use crate::topic::{TopicFilter, TopicName};
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
        subscribe_qos: Qos::AtLeastOnce,
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

    fn subscribe(&mut self, filter: &str) -> oneshot::Receiver<Result<(), crate::mqtt::Error>> {
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
}

fn keys(packets: &[Packet]) -> Vec<u128> {
    packets.iter().filter_map(|p| if let Packet::Publish { key, .. } = p { Some(*key) } else { None }).collect()
}
