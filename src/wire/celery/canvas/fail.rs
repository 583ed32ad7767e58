//! Results in the name of tasks that will not run because one before them failed.

use super::super::{Embed, End, Head, Kind, Signature, id, message_id, reply, result};
use super::bind::Membership;
use super::send::within;
use super::{Answer, ChordPart, Work, shape};

impl Answer {
    /// An end in a task's name.
    pub(super) fn new(head: &Head, end: &End, now_unix_ms: u64) -> Self {
        let envelope = reply(head, result(head, end, &[], now_unix_ms), message_id(&head.id));
        let reply_to = head.reply_to.clone().filter(|queue| !queue.is_empty() && !head.ignore_result);
        Self { reply_to, id: head.id.to_string(), envelope, state: end.state() }
    }
}

impl Work<'_> {
    /// Everything that was to run behind a task ends as the task did: whoever waits for it is told why.
    pub(super) fn fail_rest(&mut self, embed: &Embed, end: &End) {
        for step in embed.chain.iter().rev() {
            self.fail(step, Membership::default(), true, end);
        }
        self.fail_linked(&embed.callbacks, end);
    }

    /// A signature that will not run. Tasks with ids are answered, and parts of chords that were begun are done;
    /// `begun` is false within the header of a chord that was not.
    pub(super) fn fail(&mut self, sig: &Signature, outer: Membership, begun: bool, end: &End) {
        let within = within(sig, outer);
        match sig.kind() {
            Kind::Task => self.fail_task(sig, within, begun, end),
            Kind::Group => {
                for (index, member) in (0..).zip(&shape::members(sig)) {
                    self.fail(member, Membership { index: Some(index), ..within.clone() }, begun, end);
                }
            }
            Kind::Chain => {
                let steps = shape::steps(sig);
                let (last, others) = steps.split_last().map_or((None, &[][..]), |(last, others)| (Some(last), others));
                for step in others {
                    self.fail(step, Membership::default(), begun, end);
                }
                if let Some(last) = last {
                    self.fail(last, within, begun, end);
                }
            }
            Kind::Chord => {
                self.fail(&shape::header(sig), Membership::default(), false, end);
                if let Some(body) = shape::body(sig) {
                    self.fail(&body, within, begun, end);
                }
            }
        }
        for step in sig.option::<Vec<Signature>>("chain").iter().flatten().rev() {
            self.fail(step, Membership::default(), begun, end);
        }
        self.fail_linked(&sig.linked("link"), end);
    }

    fn fail_task(&mut self, sig: &Signature, within: Membership, begun: bool, end: &End) {
        let id = sig.id();
        if let Some(id) = &id
            && self.answered.insert(id.clone())
        {
            let head = Head {
                id: id.as_str().into(),
                name: sig.task.as_str().into(),
                correlation_id: id.clone(),
                reply_to: sig.option("reply_to"),
                ignore_result: sig.option("ignore_result").unwrap_or_default(),
                group: within.group.clone(),
                group_index: within.index,
                parent_id: sig.option("parent_id"),
                ..Head::default()
            };
            self.after.answers.push(Answer::new(&head, end, self.sender.now_unix_ms));
        }
        if let (Some(body), Some(group), true) = (within.chord, within.group, begun) {
            let place = || id::task(self.seed, &format!("part/{}", self.after.parts.len()));
            let id = id.unwrap_or_else(place);
            let part = ChordPart::new(group, id, within.index, end, *body, &self.root);
            self.after.parts.push(part);
        }
    }

    /// In protocol 1 the steps of a chain are callbacks of each other, and have the ids that their callers wait for;
    /// other callbacks have none, and nobody waits for them.
    fn fail_linked(&mut self, callbacks: &[Signature], end: &End) {
        for callback in callbacks.iter().filter(|callback| callback.id().is_some()) {
            self.fail(callback, Membership::default(), true, end);
        }
    }
}
