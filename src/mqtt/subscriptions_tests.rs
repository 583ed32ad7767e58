//! Tests of the counted subscriptions against a model of a broker and of the readers.

use super::error::Error;
use super::message::{Message, Qos};
use super::reader::{Reader, ReaderId, ReaderKind, Shared};
use super::subscriptions::Subscriptions;
use crate::topic::TopicFilter;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const LINGER: Duration = Duration::from_secs(5);
const FILTERS: [&str; 6] = ["a", "b", "a/+", "a/#", "#", "a/1"];

type Answer = oneshot::Receiver<Result<(), Error>>;

/// One reader of the model: which filter, and its end of the stream.
struct User {
    filter: &'static str,
    messages: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    answer: Answer,
}

#[derive(Default)]
struct World {
    subscriptions: Subscriptions,
    users: BTreeMap<ReaderId, User>,
    last_reader: ReaderId,
    last_pkid: u16,
    /// Filters that the broker has, with their identifiers.
    broker: BTreeMap<String, u32>,
    under_way: BTreeMap<u16, (bool, Vec<String>, u32)>,
    connected: bool,
}

impl World {
    fn subscribe(&mut self, filter: &'static str) -> ReaderId {
        self.last_reader += 1;
        let (messages, stream) = mpsc::channel(4);
        let shared = Arc::new(Shared::default());
        let (granted, answer) = oneshot::channel();
        let reader = Reader { id: self.last_reader, to: ReaderKind::Stream { messages, shared: shared.clone() } };
        self.subscriptions.add(TopicFilter::new(filter).unwrap(), reader, granted);
        self.users.insert(self.last_reader, User { filter, messages: stream, shared, answer });
        self.last_reader
    }

    fn release(&mut self, reader: ReaderId, now: Instant) {
        self.users.remove(&reader);
        self.subscriptions.release(reader, now, LINGER);
    }

    /// Everything that is to be asked leaves.
    fn flush(&mut self, now: Instant) {
        while self.connected && self.subscriptions.has_requests() {
            self.last_pkid += 1;
            let pkid = self.last_pkid;
            let texts = |filters: Vec<&TopicFilter>| filters.iter().map(ToString::to_string).collect::<Vec<_>>();
            let (subscribe, filters, id) = if let Some((filters, id)) = self.subscriptions.next_subscribe(pkid, 4, now)
            {
                (true, texts(filters), id)
            } else if let Some(filters) = self.subscriptions.next_unsubscribe(pkid, 4, now) {
                (false, texts(filters), 0)
            } else {
                break;
            };
            let wild = filters.iter().any(|filter| filter.contains(['+', '#']));
            assert!(!subscribe || !wild || filters.len() == 1, "a wildcard filter shares an identifier: {filters:?}");
            for filter in &filters {
                let twice = self.under_way.values().any(|(_, others, _)| others.contains(filter));
                assert!(!twice, "{filter} is asked for and given up at a time");
                assert!(subscribe || self.users.values().all(|user| user.filter != filter), "{filter} is in use");
            }
            self.under_way.insert(pkid, (subscribe, filters, id));
        }
    }

    fn answer(&mut self, pkid: u16, refuse: bool, now: Instant) {
        let Some((subscribe, filters, id)) = self.under_way.remove(&pkid) else { return };
        if !subscribe {
            self.broker.retain(|filter, _| !filters.contains(filter));
            self.subscriptions.on_unsuback(pkid);
            return;
        }
        let grant = if refuse { Err((0x87, "NotAuthorized".to_owned())) } else { Ok(Qos::AtLeastOnce) };
        for filter in &filters {
            match refuse {
                false => {
                    self.broker.insert(filter.clone(), id);
                }
                true => {
                    self.broker.remove(filter);
                    self.users.retain(|_, user| user.filter != filter);
                }
            }
        }
        self.subscriptions.on_suback(pkid, &vec![grant; filters.len()], now, LINGER);
    }

    fn answer_all(&mut self, now: Instant) {
        self.flush(now);
        while let Some(pkid) = self.under_way.keys().next().copied() {
            self.answer(pkid, false, now);
            self.flush(now);
        }
    }

    fn lose(&mut self, keep_session: bool) {
        self.connected = false;
        for (pkid, (subscribe, filters, id)) in std::mem::take(&mut self.under_way) {
            // Of what was under way the broker has done some.
            for filter in filters.into_iter().filter(|_| pkid % 2 == 0) {
                match subscribe {
                    true => {
                        self.broker.insert(filter, id);
                    }
                    false => {
                        self.broker.remove(&filter);
                    }
                }
            }
        }
        if !keep_session {
            self.broker.clear();
        }
        self.subscriptions.reset();
    }

    fn connect(&mut self, session_present: bool) {
        self.connected = true;
        if !session_present {
            self.broker.clear();
        }
        self.subscriptions.on_up(session_present);
    }

    /// The broker sends a message the way mosquitto does for MQTT 5: one copy for each matching subscription.
    fn deliver(&mut self, topic: &'static str) {
        let message = Message::new(topic.into(), "x".into(), Qos::AtLeastOnce, false, None).unwrap();
        for (filter, id) in &self.broker {
            if TopicFilter::new(filter).unwrap().matches(topic) {
                self.subscriptions.deliver(&message, &[*id]);
            }
        }
        for (reader, user) in &mut self.users {
            let held = self.broker.contains_key(user.filter);
            let expected = held && TopicFilter::new(user.filter).unwrap().matches(topic);
            let got = std::iter::from_fn(|| user.messages.try_recv().ok()).count();
            assert_eq!(got, usize::from(expected), "reader {reader} of {} for {topic}", user.filter);
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Subscribe(usize),
    Release(prop::sample::Index),
    Pass(u64),
    Flush,
    Answer(prop::sample::Index, bool),
    Deliver(&'static str),
    Lose(bool),
    Connect(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        5 => (0..FILTERS.len()).prop_map(Event::Subscribe),
        4 => index().prop_map(Event::Release),
        3 => (0..8000u64).prop_map(Event::Pass),
        4 => Just(Event::Flush),
        4 => (index(), prop::bool::weighted(0.1)).prop_map(|(i, refuse)| Event::Answer(i, refuse)),
        3 => prop::sample::select(vec!["a", "a/1", "b", "$SYS/a"]).prop_map(Event::Deliver),
        1 => any::<bool>().prop_map(Event::Lose),
        2 => any::<bool>().prop_map(Event::Connect),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn the_broker_ends_with_exactly_what_is_read(events in prop::collection::vec(event(), 1..80)) {
        let mut now = Instant::now();
        let mut world = World::default();
        for event in events {
            match event {
                Event::Subscribe(which) => {
 world.subscribe(FILTERS[which]);
 }
                Event::Release(which) if !world.users.is_empty() => {
                    let reader = *which.get(&world.users.keys().copied().collect::<Vec<_>>());
                    world.release(reader, now);
                }
                Event::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    world.subscriptions.tick(now);
                }
                Event::Flush => world.flush(now),
                Event::Answer(which, refuse) if !world.under_way.is_empty() => {
                    let pkid = *which.get(&world.under_way.keys().copied().collect::<Vec<_>>());
                    world.answer(pkid, refuse, now);
                }
                Event::Deliver(topic) if world.connected => world.deliver(topic),
                Event::Lose(keep) if world.connected => world.lose(keep),
                Event::Connect(present) if !world.connected => {
                    let present = present && !world.broker.is_empty();
                    world.connect(present);
                }
                _ => {}
            }
            prop_assert_eq!(world.subscriptions.counts().1, world.users.len());
        }
        if !world.connected {
            world.connect(!world.broker.is_empty());
        }
        world.answer_all(now);
        prop_assert!(!world.subscriptions.is_renewing());
        for user in world.users.values_mut() {
            prop_assert_eq!(user.answer.try_recv(), Ok(Ok(())), "{} was never granted", user.filter);
        }
        now += LINGER;
        world.subscriptions.tick(now);
        world.answer_all(now);
        let read: BTreeSet<_> = world.users.values().map(|user| user.filter.to_owned()).collect();
        prop_assert_eq!(world.broker.keys().cloned().collect::<BTreeSet<_>>(), read.clone());
        prop_assert_eq!(world.subscriptions.counts(), (read.len(), world.users.len()));
        for topic in ["a", "a/1", "b"] {
            world.deliver(topic);
        }
        for reader in world.users.keys().copied().collect::<Vec<_>>() {
            world.release(reader, now);
        }
        now += LINGER;
        world.subscriptions.tick(now);
        world.answer_all(now);
        prop_assert_eq!(world.subscriptions.counts(), (0, 0));
        prop_assert!(world.broker.is_empty(), "{:?}", world.broker);
        prop_assert_eq!(world.subscriptions.next_deadline(), None);
    }
}

#[test]
fn a_filter_that_finds_a_new_user_within_the_linger_is_not_given_up() {
    let now = Instant::now();
    let mut world = World::default();
    world.connect(false);
    let first = world.subscribe("a");
    world.answer_all(now);
    world.release(first, now);
    assert_eq!(world.subscriptions.next_deadline(), Some(now + LINGER));
    let second = world.subscribe("a");
    assert_eq!(world.users.get_mut(&second).unwrap().answer.try_recv(), Ok(Ok(())), "granted at once");
    world.subscriptions.tick(now + LINGER);
    assert!(!world.subscriptions.has_requests());
}

#[test]
fn only_so_many_filters_linger_and_the_first_of_them_leaves() {
    let now = Instant::now();
    let mut subscriptions = Subscriptions::default();
    subscriptions.on_up(false);
    for n in 0..=super::subscriptions::MAX_IDLE as u64 {
        let (messages, _stream) = mpsc::channel(1);
        let to = ReaderKind::Stream { messages, shared: Arc::default() };
        let (granted, _answer) = oneshot::channel();
        subscriptions.add(TopicFilter::new(format!("a/{n}")).unwrap(), Reader { id: n, to }, granted);
        assert!(subscriptions.next_subscribe(1, 1, now).is_some());
        subscriptions.on_suback(1, &[Ok(Qos::AtLeastOnce)], now, LINGER);
        assert!(!subscriptions.has_requests());
        subscriptions.release(n, now + Duration::from_millis(n), LINGER);
    }
    let leaving = subscriptions.next_unsubscribe(2, 9, now).unwrap();
    assert_eq!(leaving.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a/0"]);
    assert_eq!(subscriptions.next_deadline(), Some(now + LINGER + Duration::from_millis(1)));
}

#[test]
fn a_refused_filter_fails_all_its_users_and_leaves_nothing() {
    let now = Instant::now();
    let mut world = World::default();
    world.connect(false);
    let (first, second) = (world.subscribe("a"), world.subscribe("a"));
    world.flush(now);
    let mut users = [first, second].map(|reader| world.users.remove(&reader).unwrap());
    world.answer(1, true, now);
    for user in &mut users {
        let refused = user.answer.try_recv().unwrap().unwrap_err();
        assert!(matches!(&refused, Error::Refused { filter, reason } if filter == "a" && reason.contains("0x87")));
    }
    assert_eq!(world.subscriptions.counts(), (0, 0));
}

#[test]
fn a_suback_with_too_few_answers_refuses_the_rest_and_one_for_an_unsubscribe_is_ignored() {
    let now = Instant::now();
    let mut world = World::default();
    world.connect(false);
    let (first, second) = (world.subscribe("a"), world.subscribe("b"));
    world.flush(now);
    world.subscriptions.on_unsuback(1);
    world.subscriptions.on_suback(1, &[Ok(Qos::AtLeastOnce)], now, LINGER);
    assert_eq!(world.users.get_mut(&first).unwrap().answer.try_recv(), Ok(Ok(())));
    assert!(matches!(world.users.get_mut(&second).unwrap().answer.try_recv(), Ok(Err(Error::Refused { .. }))));
}

#[test]
fn wishes_taken_back_during_an_outage_leave_nothing_behind() {
    let now = Instant::now();
    let mut world = World::default();
    for _ in 0..1000 {
        let (kept, reader) = (world.subscribe("a"), world.subscribe("b"));
        world.release(reader, now);
        world.release(kept, now);
    }
    assert_eq!((world.subscriptions.counts(), world.subscriptions.has_requests()), ((0, 0), false));
}

#[test]
fn without_identifiers_every_matching_reader_gets_the_copy_and_a_slow_one_loses_its_own() {
    let now = Instant::now();
    let mut world = World::default();
    world.connect(false);
    let readers = ["a/1", "a/+", "#"].map(|filter| world.subscribe(filter));
    world.answer_all(now);
    let message = Message::new("a/1".into(), "x".into(), Qos::AtLeastOnce, false, None).unwrap();
    for _ in 0..6 {
        assert_eq!(world.subscriptions.deliver(&message, &[]), 3);
        world.users.get_mut(&readers[0]).unwrap().messages.try_recv().unwrap();
    }
    assert_eq!(readers.map(|reader| world.users[&reader].shared.lagged()), [0, 2, 2]);
}

#[test]
fn a_subscribe_packet_stays_small() {
    let now = Instant::now();
    let mut world = World::default();
    world.connect(false);
    let mut kept = Vec::new();
    for index in 0..10u64 {
        let filter = TopicFilter::new(format!("{index}{}", "x".repeat(3000))).unwrap();
        let (messages, stream) = mpsc::channel(1);
        let (granted, answer) = oneshot::channel();
        let reader = Reader { id: index, to: ReaderKind::Stream { messages, shared: Arc::default() } };
        world.subscriptions.add(filter, reader, granted);
        kept.push((stream, answer));
    }
    let mut filters = 0;
    let mut pkid = 0;
    while let Some((packet, _)) = world.subscriptions.next_subscribe(
        {
            pkid += 1;
            pkid
        },
        100,
        now,
    ) {
        assert!(packet.len() <= 2);
        filters += packet.len();
    }
    assert_eq!(filters, 10);
}
