//! Signatures into messages: what is sent now, and what is handed on with it.

use super::super::message::{Sending, build};
use super::super::{Child, Embed, Head, Json, Kind, Signature, id};
use super::bind::{Membership, bind, freeze, freeze_steps};
use super::{ChordStart, Message, Step, Target, Work, shape};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Options that make the canvas: they are not handed down from a signature for more than one to its tasks.
const STRUCTURE: [&str; 10] =
    ["task_id", "root_id", "parent_id", "group_id", "group_index", "chord", "chain", "link", "link_error", "reply_to"];

/// How a signature is to be sent.
#[derive(Clone, Default)]
pub(super) struct Plan {
    /// Put in front of its arguments.
    pub(super) args: Vec<Json>,
    /// Added to its named arguments.
    pub(super) kwargs: BTreeMap<String, Json>,
    /// What is chained behind it, in Celery's order; none where it is in no chain.
    pub(super) chain: Option<Vec<Signature>>,
    /// The chord that it is a part of, or the group that it is in.
    pub(super) within: Membership,
    /// Options that take the place of its own.
    pub(super) options: BTreeMap<String, Json>,
    /// Where it stands in what is sent: ids are made of it.
    pub(super) place: String,
}

impl Plan {
    /// Takes over what a signature itself says of chain and chord.
    fn absorb(&mut self, sig: &Signature) {
        if let Some(own) = sig.option::<Vec<Signature>>("chain") {
            // What was chained to the signature itself comes first, so it stands behind.
            self.chain.get_or_insert_default().extend(own);
        }
        self.within = within(sig, std::mem::take(&mut self.within));
    }
}

/// The membership that a signature has where it is given one from outside.
pub(super) fn within(sig: &Signature, outer: Membership) -> Membership {
    Membership {
        chord: outer.chord.or_else(|| sig.option::<Signature>("chord").map(Box::new)),
        group: sig.option("group_id").or(outer.group),
        index: outer.index.or_else(|| sig.option("group_index")),
    }
}

impl Work<'_> {
    /// Sends a signature; gives what the sender's result lists as its child.
    pub(super) fn send(&mut self, sig: Signature, mut plan: Plan) -> Option<Child> {
        plan.absorb(&sig);
        match sig.kind() {
            Kind::Task => Some(self.send_task(&sig, plan)),
            Kind::Group => self.send_group(sig, plan),
            Kind::Chain => self.send_chain(sig, plan),
            Kind::Chord => self.send_chord(sig, plan),
        }
    }

    fn send_task(&mut self, sig: &Signature, plan: Plan) -> Child {
        let id = sig.id().unwrap_or_else(|| id::task(self.seed, &plan.place));
        let mut options = sig.clone();
        options.options.extend(plan.options);
        let head = Head {
            id: id.as_str().into(),
            name: sig.task.as_str().into(),
            correlation_id: id.clone(),
            // Celery puts a queue of its worker's here, from which nobody reads.
            reply_to: sig.option("reply_to"),
            ignore_result: options.option("ignore_result").unwrap_or_default(),
            from_beat: false,
            group: plan.within.group,
            group_index: plan.within.index,
            root_id: Some(self.root.clone()),
            parent_id: Some(self.parent.clone()),
        };
        let mut sending = Sending::of(&options, self.sender.now_unix_ms);
        sending.in_chain = plan.chain.is_some();
        let embed = Embed {
            callbacks: sig.linked("link"),
            errbacks: sig.linked("link_error"),
            chain: plan.chain.unwrap_or_default(),
            chord: plan.within.chord,
        };
        let (in_front, kwargs) = if sig.immutable { Default::default() } else { (plan.args, plan.kwargs) };
        let args: Vec<Json> = in_front.into_iter().chain(sig.args.iter().cloned()).collect();
        let kept = sig.kwargs.iter().filter(|(name, _)| !kwargs.contains_key(*name));
        let kwargs: Vec<(&str, &Json)> = kept.chain(&kwargs).map(|(name, value)| (name.as_str(), value)).collect();
        let envelope = build(&head, &args, &kwargs, &embed, sending, self.sender.node);
        let Target { exchange, routing_key } = self.target(&options);
        self.after.messages.push(Message { exchange, routing_key, envelope, step: Box::new(Step { head, embed }) });
        Child::Task(id)
    }

    /// By queue through the default exchange, as Celery sends to a queue of a direct exchange; else by exchange and key.
    fn target(&self, sig: &Signature) -> Target {
        let text = |name| sig.option::<String>(name).filter(|text| !text.is_empty());
        match (text("exchange"), text("routing_key"), text("queue")) {
            (Some(exchange), Some(routing_key), _) => Target { exchange, routing_key },
            (_, _, Some(queue)) => Target { exchange: String::new(), routing_key: queue },
            (Some(exchange), None, None) => Target { exchange, routing_key: String::new() },
            (None, _, None) => (self.sender.route)(&sig.task),
        }
    }

    /// Every member is sent, each with what is chained behind the group, as Celery does.
    fn send_group(&mut self, mut sig: Signature, plan: Plan) -> Option<Child> {
        freeze(&mut sig, self.seed, &plan.place, &self.root);
        let id = sig.id()?;
        let mut members = shape::members(&sig);
        if members.is_empty() {
            return self.pass_on(plan);
        }
        let options = handed_down(&sig, plan.options);
        let children = members.iter().filter_map(shape::result_of).collect();
        for (index, mut member) in members.drain(..).enumerate() {
            let mut within = Membership { index: i64::try_from(index).ok(), ..plan.within.clone() };
            let group = within.group.get_or_insert_with(|| id.clone());
            match within.chord {
                Some(_) => {
                    bind(&mut member, &within);
                    within = Membership::default();
                }
                None => *group = id.clone(),
            }
            let place = format!("{}/{index}", plan.place);
            let (args, kwargs, chain) = (plan.args.clone(), plan.kwargs.clone(), plan.chain.clone());
            self.send(member, Plan { args, kwargs, chain, within, options: options.clone(), place });
        }
        Some(Child::Group(id, children))
    }

    /// The first step is sent with the others behind it.
    fn send_chain(&mut self, sig: Signature, plan: Plan) -> Option<Child> {
        let mut steps = shape::steps(&sig);
        shape::give_links(&sig, &mut steps);
        freeze_steps(&mut steps, sig.id(), self.seed, &plan.place, &self.root);
        let Some(last) = steps.last_mut() else { return self.pass_on(plan) };
        bind(last, &plan.within);
        let mut args = if sig.immutable { Vec::new() } else { plan.args };
        args.extend(sig.args.iter().cloned());
        let mut steps = steps.into_iter();
        let first = steps.next()?;
        let behind = steps.rev().collect::<Vec<_>>();
        let mut chain = plan.chain;
        if chain.is_some() || !behind.is_empty() {
            chain.get_or_insert_default().extend(behind);
        }
        let options = handed_down(&sig, plan.options);
        let place = format!("{}/0", plan.place);
        self.send(first, Plan { args, kwargs: plan.kwargs, chain, within: Membership::default(), options, place })
    }

    /// The chord begins: its header is sent, and what is behind the chord goes with its body.
    fn send_chord(&mut self, mut sig: Signature, plan: Plan) -> Option<Child> {
        freeze(&mut sig, self.seed, &plan.place, &self.root);
        let header = shape::header(&sig);
        let id = header.id()?;
        let mut body = shape::body(&sig)?;
        let mut options = handed_down(&sig, plan.options);
        let delay = ["countdown", "eta"].map(|name| options.remove_entry(name));
        body.options.extend(options.clone());
        body.link("link", sig.linked("link"));
        body.link("link_error", sig.linked("link_error"));
        bind(&mut body, &plan.within);
        if let Some(mut chain) = plan.chain {
            chain.extend(body.option::<Vec<Signature>>("chain").unwrap_or_default());
            body.set_option("chain", &chain);
        }
        body.set_option("root_id", &self.root);
        bind(&mut body, &Membership { group: Some(id.clone()), ..Membership::default() });
        let mut members = shape::members(&header);
        if members.is_empty() {
            return self.send(
                body,
                Plan {
                    args: vec![RawValue::from_string("[]".to_owned()).expect("it is JSON")],
                    place: plan.place,
                    ..Plan::default()
                },
            );
        }
        options.extend(delay.into_iter().flatten());
        let options = handed_down(&header, options);
        let mut args = if sig.immutable { Vec::new() } else { plan.args };
        args.extend(sig.args.iter().cloned());
        let mut kwargs = plan.kwargs;
        kwargs.extend(sig.named::<BTreeMap<String, Json>>("kwargs").unwrap_or_default());
        let body = Box::new(body);
        for (index, member) in (0..).zip(&mut members) {
            bind(member, &Membership { chord: Some(body.clone()), group: Some(id.clone()), index: Some(index) });
        }
        let children: Vec<Child> = members.iter().filter_map(shape::result_of).collect();
        let size = members.iter().map(shape::size).sum();
        self.after.chords.push(ChordStart::new(id.clone(), size, &children));
        for (index, member) in members.into_iter().enumerate() {
            let place = format!("{}/header/{index}", plan.place);
            let (args, kwargs, options) = (args.clone(), kwargs.clone(), options.clone());
            self.send(member, Plan { args, kwargs, options, place, ..Plan::default() });
        }
        Some(Child::Group(id, children))
    }

    /// A signature that stands for nothing gives its turn to what is behind it.
    fn pass_on(&mut self, mut plan: Plan) -> Option<Child> {
        let next = plan.chain.as_mut()?.pop()?;
        let place = format!("{}/next", plan.place);
        self.send(next, Plan { args: plan.args, kwargs: plan.kwargs, chain: plan.chain, place, ..Plan::default() })
    }
}

/// Options of a signature for more than one that hold for its tasks.
fn handed_down(sig: &Signature, outer: BTreeMap<String, Json>) -> BTreeMap<String, Json> {
    let own = sig.options.iter().filter(|(name, _)| !STRUCTURE.contains(&name.as_str()));
    let own = own.filter(|(_, value)| value.get() != "null");
    own.map(|(name, value)| (name.clone(), value.clone())).chain(outer).collect()
}
