//! Any sequence of events.

use super::World;
use crate::mqtt::fate::{Fate, Progress};
use crate::mqtt::message::Qos;
use crate::mqtt::packet::Incoming;
use crate::mqtt::publication::Class;
use proptest::prelude::*;
use std::time::Duration;

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

impl World {
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
