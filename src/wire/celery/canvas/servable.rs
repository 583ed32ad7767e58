//! What cannot follow on a task's end, found before the task is run.

use super::super::{Exception, Kind, Signature, Task};
use super::shape;

/// How deep groups, chains and chords may stand within each other.
const MOST_NESTED: usize = 12;

/// How long a line of callbacks of callbacks may be: the chains of protocol 1.
const LONGEST_LINE: usize = 40;

/// Why a task must not be run: what is to follow on its end cannot. `None` where nothing is in the way.
///
/// An application that waits for the end of a chord would wait for ever, so the task fails instead, before its device
/// has been asked for anything.
pub fn unservable(task: &Task, has_redis: bool) -> Option<Exception> {
    let embed = &task.embed;
    if embed.chord.is_none() && embed.chain.is_empty() && embed.callbacks.is_empty() && embed.errbacks.is_empty() {
        return None;
    }
    let check = Check { has_redis };
    let within_chord =
        embed.chord.as_deref().map(|body| check.chord("this task is in a chord's header").and(check.look(body, 0, 0)));
    let others = embed.callbacks.iter().chain(&embed.errbacks).chain(&embed.chain);
    let mut others = others.map(|sig| check.look(sig, 0, 0));
    within_chord.unwrap_or(Ok(())).and_then(|()| others.try_for_each(|found| found)).err()
}

struct Check {
    has_redis: bool,
}

impl Check {
    fn chord(&self, which: &str) -> Result<(), Exception> {
        match self.has_redis {
            true => Ok(()),
            false => {
                let text = format!(
                    "{which}, and chords need a result backend in Redis: this worker has none, so the chord's body would \
                     never be sent"
                );
                Err(Exception::new("builtins", "NotImplementedError", text))
            }
        }
    }

    fn look(&self, sig: &Signature, nested: usize, line: usize) -> Result<(), Exception> {
        if nested > MOST_NESTED || line > LONGEST_LINE {
            return Err(invalid(format!(
                "what follows on this task nests too deep: at most {MOST_NESTED} groups, chains and chords within each \
                 other, and {LONGEST_LINE} callbacks of callbacks"
            )));
        }
        let deeper = nested + 1;
        match sig.kind() {
            Kind::Task if sig.subtask_type.as_deref() == Some("chunks") => {
                let text = "celery.chunks is not sent by this worker; send its group: chunks(...).group()";
                return Err(Exception::new("builtins", "NotImplementedError", text));
            }
            Kind::Task => {}
            Kind::Group | Kind::Chain => {
                for task in self.list(sig, "tasks")? {
                    self.look(&task, deeper, line)?;
                }
                if sig.kind() == Kind::Chain && shape::steps(sig).iter().any(|step| step.kind() == Kind::Chord) {
                    self.chord("a chord is to follow on this task")?;
                }
            }
            Kind::Chord => {
                self.chord("a chord is to follow on this task")?;
                // A group that stands for the list of its tasks is as good as the list.
                match sig.named::<Signature>("header") {
                    Some(header) => self.look(&header, deeper, line)?,
                    None => {
                        for task in self.list(sig, "header")? {
                            self.look(&task, deeper, line)?;
                        }
                    }
                }
                match shape::body(sig) {
                    Some(body) => self.look(&body, deeper, line)?,
                    None => return Err(invalid("a chord that is to follow on this task has no body".to_owned())),
                }
            }
        }
        if let Some(body) = self.option::<Signature>(sig, "chord")? {
            self.chord("a task in a chord's header is to follow on this task")?;
            self.look(&body, deeper, line)?;
        }
        for step in self.option::<Vec<Signature>>(sig, "chain")?.iter().flatten() {
            self.look(step, deeper, line)?;
        }
        for name in ["link", "link_error"] {
            let is_given = sig.options.get(name).is_some_and(|given| !matches!(given.get(), "null" | "[]"));
            let linked = sig.linked(name);
            if is_given && linked.is_empty() {
                return Err(wrong(sig, name));
            }
            for callback in &linked {
                self.look(callback, nested, line + 1)?;
            }
        }
        Ok(())
    }

    fn list(&self, sig: &Signature, name: &str) -> Result<Vec<Signature>, Exception> {
        sig.named(name).ok_or_else(|| invalid(format!("{name} of {}: expected a list of signatures", sig.task)))
    }

    fn option<T: serde::de::DeserializeOwned>(&self, sig: &Signature, name: &str) -> Result<Option<T>, Exception> {
        match sig.options.get(name) {
            None => Ok(None),
            Some(given) => serde_json::from_str::<Option<T>>(given.get()).map_err(|_| wrong(sig, name)),
        }
    }
}

fn wrong(sig: &Signature, option: &str) -> Exception {
    invalid(format!("option {option} of {}: expected what Celery writes there, signatures", sig.task))
}

fn invalid(text: String) -> Exception {
    Exception::new("celery.exceptions", "InvalidTaskError", text)
}
