//! What follows on a task's end: callbacks, the next step of a chain, groups, chords, and the failures of what will not run.
//!
//! Everything here is decided from the message and the end alone. Signatures have been looked through by [`unservable`]
//! before the task was run, so nothing here fails: what is nonsense then counts as absent.

mod bind;
pub mod chord;
mod fail;
mod send;
mod servable;
mod shape;
#[cfg(test)]
mod tests;

pub use chord::{ChordPart, ChordStart};
pub use servable::unservable;

use super::{Child, Embed, End, Exception, Head, Kind, Signature, Task};
use crate::envelope::Envelope;
use send::Plan;
use std::collections::HashSet;

/// Who sends what follows, and when.
pub struct Sender<'a> {
    /// The worker's name as a node, for the header `origin`.
    pub node: &'a str,
    /// Where a task of that name goes whose signature names neither a queue nor an exchange with a routing key.
    pub route: &'a dyn Fn(&str) -> Target,
    /// The current time in milliseconds since the Unix epoch.
    pub now_unix_ms: u64,
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Empty for the default exchange.
    pub exchange: String,
    /// The name of a queue, where the exchange is the default one.
    pub routing_key: String,
}

/// What follows on an end, in the order of carrying it out; the task's own result goes out between `answers` and `parts`.
#[derive(Debug, Default)]
pub struct After {
    /// Chords whose counters must exist before their tasks are sent.
    pub chords: Vec<ChordStart>,
    /// Tasks to be sent.
    pub messages: Vec<Message>,
    /// Results in the name of tasks that will not run.
    pub answers: Vec<Answer>,
    /// Parts of chords that are done: one for a task in a chord's header, more where a step that will not run stands for
    /// several of them.
    pub parts: Vec<ChordPart>,
    /// What the task's own result lists as its children.
    pub children: Vec<Child>,
}

/// A task to be sent. It is to be sent `mandatory`: where no queue takes it, [`lost`] says what follows.
#[derive(Debug)]
pub struct Message {
    /// Empty for the default exchange.
    pub exchange: String,
    /// The name of a queue, where the exchange is the default one.
    pub routing_key: String,
    /// The message itself.
    pub envelope: Envelope,
    /// What the message makes a worker run.
    pub step: Box<Step>,
}

/// Of a task that was sent, what is needed to fail it.
#[derive(Debug)]
pub struct Step {
    /// Who waits for it.
    pub head: Head,
    /// What waits behind it.
    pub embed: Embed,
}

/// A result in the name of a task that will not run.
#[derive(Debug)]
pub struct Answer {
    /// The queue that the client reads rpc results from; none where the client wants no result or named no queue.
    pub reply_to: Option<String>,
    /// The id of that task, under which the result is kept in Redis; the value there is the envelope's body.
    pub id: String,
    /// The rpc message.
    pub envelope: Envelope,
    /// Celery's name of the state.
    pub state: &'static str,
}

/// What follows on a task's end.
pub fn after(task: &Task, end: &End, sender: &Sender<'_>) -> After {
    follow(&task.head, &task.embed, end, sender)
}

/// What follows on a message that no queue took: its task fails as if a worker had failed it, so that nobody waits for
/// ever. The message is not to be sent again.
pub fn lost(message: &Message, sender: &Sender<'_>) -> After {
    let Message { exchange, routing_key, step, .. } = message;
    let place = match exchange.as_str() {
        "" => format!("there is no queue {routing_key:?}"),
        exchange => format!("exchange {exchange:?} has no queue for the routing key {routing_key:?}"),
    };
    let text = format!("task {} could not be sent: {place}", step.head.name);
    let why = End::Failure(Exception::new("kombu.exceptions", "OperationalError", text));
    let mut after = follow(&step.head, &step.embed, &why, sender);
    after.answers.insert(0, Answer::new(&step.head, &why, sender.now_unix_ms));
    after
}

fn follow(head: &Head, embed: &Embed, end: &End, sender: &Sender<'_>) -> After {
    let root = head.root_id.as_deref().unwrap_or(&head.id);
    let mut work = Work::new(sender, &head.id, &head.id, root);
    if let Some(part) = chord::own_part(head, embed, end, root) {
        work.after.parts.push(part);
    }
    match end {
        End::Success(value) => {
            work.callbacks(embed, value);
            work.next_step(embed, value);
        }
        End::Failure(_) => {
            work.fail_rest(embed, end);
            work.errbacks(&embed.errbacks, &head.id);
        }
        // Celery fires no errbacks here and leaves the chain's callers to wait; they are told instead.
        End::Revoked(_) => work.fail_rest(embed, end),
    }
    work.after
}

/// What follows, as it comes together.
struct Work<'a> {
    sender: &'a Sender<'a>,
    /// What ids are derived from: the same whenever the same work is done again.
    seed: &'a str,
    parent: String,
    root: String,
    answered: HashSet<String>,
    after: After,
}

impl<'a> Work<'a> {
    fn new(sender: &'a Sender<'a>, seed: &'a str, parent: &str, root: &str) -> Self {
        let (parent, root) = (parent.to_owned(), root.to_owned());
        Self { sender, seed, parent, root, answered: HashSet::new(), after: After::default() }
    }

    /// One callback is sent by itself; of several, groups are sent each for itself and the others as one group.
    fn callbacks(&mut self, embed: &Embed, value: &super::Json) {
        let plan = |place: String| Plan { args: vec![value.to_owned()], place, ..Plan::default() };
        if let [only] = &embed.callbacks[..] {
            let child = self.send(only.clone(), plan("link".to_owned()));
            self.after.children.extend(child);
            return;
        }
        let (groups, others): (Vec<_>, Vec<_>) =
            embed.callbacks.iter().cloned().partition(|sig| sig.kind() == Kind::Group);
        for (index, group) in groups.into_iter().enumerate() {
            let child = self.send(group, plan(format!("link/{index}")));
            self.after.children.extend(child);
        }
        if !others.is_empty() {
            let child = self.send(Signature::of(Kind::Group, &others), plan("links".to_owned()));
            self.after.children.extend(child);
        }
    }

    fn next_step(&mut self, embed: &Embed, value: &super::Json) {
        if let Some((next, rest)) = embed.chain.split_last() {
            let plan = Plan {
                args: vec![value.to_owned()],
                chain: Some(rest.to_vec()),
                place: "chain".to_owned(),
                ..Plan::default()
            };
            let child = self.send(next.clone(), plan);
            self.after.children.extend(child);
        }
    }

    /// The errbacks of a task, as one group, with its id in front of their arguments.
    fn errbacks(&mut self, errbacks: &[Signature], failed: &str) {
        if !errbacks.is_empty() {
            let place = format!("errbacks/{failed}");
            let parent = std::mem::replace(&mut self.parent, failed.to_owned());
            let plan = Plan { args: vec![super::signature::raw(failed)], place, ..Plan::default() };
            let child = self.send(Signature::of(Kind::Group, errbacks), plan);
            self.after.children.extend(child);
            self.parent = parent;
        }
    }
}
