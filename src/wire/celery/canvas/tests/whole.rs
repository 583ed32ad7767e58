//! Whole canvases, run to their end by workers that are made of the pure functions alone: nothing is lost, nothing
//! doubled.

use super::super::super::{End, Exception, Kind, Signature};
use super::super::chord::complete;
use super::super::{After, ChordPart, after, lost, shape, unservable};
use super::{done, json, read, sender, sig, task};
use crate::envelope::Envelope;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A canvas, without names.
#[derive(Clone, Debug)]
enum Tree {
    Leaf,
    Group(Vec<Tree>),
    Chain(Vec<Tree>),
    Chord(Vec<Tree>, Box<Tree>),
}

fn trees() -> impl Strategy<Value = Tree> {
    Just(Tree::Leaf).prop_recursive(4, 24, 4, |inner| {
        let several = || prop::collection::vec(inner.clone(), 0..4);
        // A body that stands for nothing is no body.
        let body = prop_oneof![
            3 => Just(Tree::Leaf),
            1 => Just(Tree::Group(vec![Tree::Leaf, Tree::Leaf])),
            2 => several().prop_map(|mut steps| {
                steps.insert(0, Tree::Leaf);
                Tree::Chain(steps)
            }),
            1 => several().prop_map(|header| Tree::Chord(header, Box::new(Tree::Leaf))),
        ];
        prop_oneof![
            several().prop_map(Tree::Group),
            several().prop_map(Tree::Chain),
            (several(), body).prop_map(|(header, body)| Tree::Chord(header, Box::new(body))),
        ]
    })
}

/// As a signature, each leaf a task of its own name, with an id where the client froze it.
fn write(tree: &Tree, leaves: &mut usize, frozen: bool) -> String {
    let mut list = |trees: &[Tree]| trees.iter().map(|tree| write(tree, leaves, frozen)).collect::<Vec<_>>().join(",");
    let (kind, kwargs) = match tree {
        Tree::Leaf => {
            let name = format!("leaf-{leaves}");
            *leaves += 1;
            let options = if frozen { format!("{{\"task_id\":\"id of {name}\"}}") } else { "{}".to_owned() };
            return format!(
                "{{\"task\":\"{name}\",\"args\":[],\"kwargs\":{{}},\"options\":{options},\"subtask_type\":null,\
                 \"immutable\":false}}"
            );
        }
        Tree::Group(tasks) => ("group", format!("\"tasks\":[{}]", list(tasks))),
        Tree::Chain(tasks) => ("chain", format!("\"tasks\":[{}]", list(tasks))),
        Tree::Chord(header, body) => {
            let header = list(header);
            let body = write(body, leaves, frozen);
            ("chord", format!("\"kwargs\":{{}},\"header\":[{header}],\"body\":{body}"))
        }
    };
    format!(
        "{{\"task\":\"celery.{kind}\",\"args\":[],\"kwargs\":{{{kwargs}}},\"options\":{{}},\
         \"subtask_type\":\"{kind}\",\"immutable\":false}}"
    )
}

/// What happens to the leaf that is chosen for it.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fails,
    IsRevoked,
    IsLost,
}

#[derive(Default)]
struct World {
    queue: VecDeque<Envelope>,
    sent: BTreeMap<String, usize>,
    answered: BTreeMap<String, usize>,
    chords: HashMap<String, Chord>,
    lost: Option<String>,
}

#[derive(Default)]
struct Chord {
    size: usize,
    structure: Option<String>,
    parts: BTreeMap<(i64, String), String>,
}

impl World {
    fn carry_out(&mut self, after: After) {
        for start in after.chords {
            let chord = Chord { size: start.size, structure: start.structure, ..Chord::default() };
            assert!(self.chords.insert(start.group, chord).is_none(), "a chord that is begun twice");
        }
        for message in after.messages {
            let name = message.envelope.headers.text("task").unwrap();
            if self.lost.as_deref() == Some(name) {
                self.carry_out(lost(&message, &sender()));
            } else {
                *self.sent.entry(name.to_owned()).or_default() += 1;
                self.queue.push_back(message.envelope);
            }
        }
        for answer in after.answers {
            *self.answered.entry(answer.id).or_default() += 1;
        }
        for part in after.parts {
            self.count(&part);
        }
    }

    fn count(&mut self, part: &ChordPart) {
        let chord = self.chords.get_mut(&part.group).expect("the chord is begun before its parts are done");
        let place = (part.index.unwrap_or(i64::MAX), part.id.clone());
        chord.parts.insert(place, part.member());
        assert!(chord.parts.len() <= chord.size, "more parts than counted: {part:?}");
        if chord.parts.len() == chord.size {
            let members: Vec<String> = chord.parts.values().cloned().collect();
            let structure = chord.structure.clone();
            self.carry_out(complete(part, &members, structure.as_deref(), &sender()));
        }
    }
}

/// Runs a canvas that follows on a task's success, as callbacks or as the chain of its message.
fn run(trees: &[Tree], as_chain: bool, frozen: bool, chosen: Option<(usize, Fate)>) -> (World, usize) {
    let mut leaves = 0;
    let sigs: Vec<Signature> = trees.iter().map(|tree| sig(&write(tree, &mut leaves, frozen))).collect();
    let mut first = task(Default::default());
    match as_chain {
        true => first.embed.chain = shape::steps(&Signature::of(Kind::Chain, &sigs)).into_iter().rev().collect(),
        false => first.embed.callbacks = sigs,
    }
    assert_eq!(unservable(&first, true), None);
    let chosen = chosen.filter(|_| leaves > 0).map(|(leaf, fate)| (format!("leaf-{}", leaf % leaves), fate));
    let mut world = World::default();
    if let Some((name, Fate::IsLost)) = &chosen {
        world.lost = Some(name.clone());
    }
    world.carry_out(after(&first, &done("0"), &sender()));
    while let Some(envelope) = world.queue.pop_front() {
        let task = read(&envelope);
        let end = match &chosen {
            Some((name, Fate::Fails)) if **name == *task.head.name => super::bad_thing(),
            Some((name, Fate::IsRevoked)) if **name == *task.head.name => End::Revoked(Exception::revoked("revoked")),
            _ => End::Success(json("1")),
        };
        world.carry_out(after(&task, &end, &sender()));
    }
    for (group, chord) in &world.chords {
        assert_eq!(chord.parts.len(), chord.size, "chord {group} waits for ever");
    }
    (world, leaves)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_task_is_sent_exactly_once(
        trees in prop::collection::vec(trees(), 1..4), as_chain: bool, frozen: bool,
    ) {
        let (world, leaves) = run(&trees, as_chain, frozen, None);
        let expected: BTreeMap<String, usize> = (0..leaves).map(|leaf| (format!("leaf-{leaf}"), 1)).collect();
        prop_assert_eq!(world.sent, expected);
        prop_assert_eq!(world.answered, BTreeMap::new());
    }

    #[test]
    fn what_is_not_sent_because_of_a_failure_is_answered_exactly_once(
        trees in prop::collection::vec(trees(), 1..4), as_chain: bool, leaf in 0_usize..100,
        fate in prop_oneof![Just(Fate::Fails), Just(Fate::IsRevoked), Just(Fate::IsLost)],
    ) {
        let (world, leaves) = run(&trees, as_chain, true, Some((leaf, fate)));
        for leaf in 0..leaves {
            let name = format!("leaf-{leaf}");
            let sent = world.sent.get(&name).copied().unwrap_or_default();
            let answered = world.answered.get(&format!("id of {name}")).copied().unwrap_or_default();
            prop_assert_eq!((sent, answered), if sent > 0 { (1, 0) } else { (0, 1) }, "{}", name);
        }
    }

    #[test]
    fn what_is_sent_again_has_the_same_ids(trees in prop::collection::vec(trees(), 1..4), as_chain: bool) {
        let mut leaves = 0;
        let sigs: Vec<Signature> = trees.iter().map(|tree| sig(&write(tree, &mut leaves, false))).collect();
        let mut first = task(Default::default());
        match as_chain {
            true => first.embed.chain = sigs,
            false => first.embed.callbacks = sigs,
        }
        let envelopes = || after(&first, &done("0"), &sender()).messages.into_iter().map(|message| message.envelope);
        let (once, again): (Vec<_>, Vec<_>) = (envelopes().collect(), envelopes().collect());
        let ids: std::collections::BTreeSet<_> = once.iter().map(|envelope| envelope.correlation_id.clone()).collect();
        prop_assert_eq!(ids.len(), once.len());
        prop_assert_eq!(once, again);
    }
}
