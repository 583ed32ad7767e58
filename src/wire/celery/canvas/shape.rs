//! The shape of a signature for more than one: its members, without what stands for nothing.

use super::super::{Child, Kind, Signature, signature::raw};

/// The tasks of a group, of groups within it too; empty chains are none.
pub(super) fn members(group: &Signature) -> Vec<Signature> {
    let mut flat = Vec::new();
    for task in group.tasks() {
        match task.kind() {
            Kind::Group => flat.extend(members(&task)),
            Kind::Chain if steps(&task).is_empty() => {}
            _ => flat.push(task),
        }
    }
    flat
}

/// The steps of a chain in the order of running: chains within it become their steps, a group of one its task, empty
/// ones nothing, and a group with something behind it a chord whose body is that; so too where a chord's body ends in
/// a group.
pub(super) fn steps(chain: &Signature) -> Vec<Signature> {
    let mut flat = Vec::new();
    for task in chain.tasks() {
        match task.kind() {
            Kind::Chain => flat.extend(inner_steps(&task)),
            Kind::Group => match &members(&task)[..] {
                [] => {}
                [only] if only.kind() == Kind::Chain => flat.extend(inner_steps(only)),
                [only] => flat.push(only.clone()),
                _ => flat.push(task),
            },
            _ => flat.push(task),
        }
    }
    let mut chained = Vec::with_capacity(flat.len());
    for step in flat.into_iter().rev() {
        match (step.kind(), chained.pop()) {
            (Kind::Group, Some(body)) => chained.push(Signature::chord(&step, &body)),
            (Kind::Chord, Some(behind)) if ends_in_group(&step) => {
                let mut chord = step;
                let whole = Signature::of(Kind::Chain, &[body(&chord).unwrap_or_else(|| behind.clone()), behind]);
                chord.kwargs.insert("body".to_owned(), raw(&whole));
                chained.push(chord);
            }
            (_, behind) => {
                chained.extend(behind);
                chained.push(step);
            }
        }
    }
    chained.reverse();
    chained
}

/// Whether something behind a signature would have to wait for several tasks.
fn ends_in_group(sig: &Signature) -> bool {
    match sig.kind() {
        Kind::Task => false,
        Kind::Group => true,
        Kind::Chain => steps(sig).last().is_some_and(ends_in_group),
        Kind::Chord => body(sig).is_some_and(|body| ends_in_group(&body)),
    }
}

/// The steps of a chain that is a step itself, with what it says about all of them.
fn inner_steps(chain: &Signature) -> Vec<Signature> {
    let mut steps = steps(chain);
    give_links(chain, &mut steps);
    if !chain.immutable
        && let Some(first) = steps.first_mut()
    {
        first.args.splice(0..0, chain.args.iter().cloned());
    }
    steps
}

/// A chain's callbacks follow on its last step, its errbacks on each.
pub(super) fn give_links(chain: &Signature, steps: &mut [Signature]) {
    let errbacks = chain.linked("link_error");
    for step in &mut *steps {
        step.link("link_error", errbacks.clone());
    }
    if let Some(last) = steps.last_mut() {
        last.link("link", chain.linked("link"));
    }
}

/// A chord's header, as a group; a list of tasks is one without an id.
pub(super) fn header(chord: &Signature) -> Signature {
    match chord.named::<Signature>("header") {
        Some(group) if group.kind() == Kind::Group => group,
        Some(single) => Signature::of(Kind::Group, &[single]),
        None => Signature::of(Kind::Group, &chord.named::<Vec<Signature>>("header").unwrap_or_default()),
    }
}

pub(super) fn body(chord: &Signature) -> Option<Signature> {
    chord.named::<Option<Signature>>("body").flatten()
}

/// How many parts of a chord a task in its header stands for, as Celery counts: of a chain the last step counts, of a
/// chord within it the body.
pub(super) fn size(sig: &Signature) -> usize {
    match sig.kind() {
        Kind::Task => 1,
        Kind::Group => members(sig).iter().map(size).sum(),
        Kind::Chain => steps(sig).last().map_or(0, size),
        Kind::Chord => body(sig).map_or(0, |body| size(&body)),
    }
}

/// Where the result of a signature will be, all ids being given.
pub(super) fn result_of(sig: &Signature) -> Option<Child> {
    match sig.kind() {
        Kind::Task => Some(Child::Task(sig.id()?)),
        Kind::Group => Some(Child::Group(sig.id()?, members(sig).iter().filter_map(result_of).collect())),
        Kind::Chain => result_of(steps(sig).last()?),
        Kind::Chord => result_of(&body(sig)?),
    }
}
