//! The Celery side of a delivery: its task, what may end it early, and how its end is said.

use super::Shared;
use crate::backend::Backend;
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::job::Job;
use crate::node::{Book, Entry};
use crate::outcome::{Outcome, Status};
use crate::wire::celery::{self, About, After, Bounds, Calls, Child, End, Exception, Head, Sender, Target, Task};
use crate::wire::native;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How Celery tasks are served.
#[derive(Clone)]
pub struct Options {
    /// The names that are served, and what each means.
    pub calls: Arc<Calls>,
    /// What a message may be at most.
    pub bounds: Bounds,
    /// The tasks under way, for whoever inspects the node, and what was revoked.
    pub book: Book,
    /// Where results are stored besides the caller's queue.
    pub backend: Option<Backend>,
    /// The node's name, which is told as the sender of what follows.
    pub node: Arc<str>,
    /// Where a task of that name goes whose signature names no queue.
    pub route: Arc<dyn Fn(&str) -> Target + Send + Sync>,
    /// Whether tasks of celery beat get a result by the caller's queue, which nobody reads.
    pub beat_results: bool,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Who asked for a task, and the task where it could be read.
pub(crate) struct Asked {
    pub(crate) head: Head,
    pub(crate) task: Option<Arc<Task>>,
    /// In the book of what is under way.
    pub(crate) entry: Option<Entry>,
    /// Its turn under the rate limit has come before.
    had_turn: bool,
    stopped: OnceLock<Stopped>,
}

/// Why a task was given up before its command came to its own end.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    /// Its soft time limit was over.
    Soft,
    /// Its hard one, of so many seconds.
    Hard(f64),
    /// It was revoked with terminate.
    Terminated,
    /// It was revoked before it began.
    Revoked,
}

/// When a task may begin.
pub(super) enum Turn {
    /// Now.
    Now,
    /// It was terminated while it waited.
    Never,
    /// At this instant, in milliseconds since the Unix epoch.
    Later { not_before: u64 },
}

/// The header of a message that waited in the broker for its turn, and has it now.
pub(super) const TURN: &str = "x-switchboard-turn";

/// A task's end, and what follows on it.
pub(crate) struct Ended {
    pub(crate) end: End,
    pub(crate) after: After,
}

impl Asked {
    pub(crate) fn task(task: Arc<Task>, entry: Entry, message: &Envelope) -> Self {
        let (head, had_turn) = (task.head.clone(), message.headers.get(TURN).is_some());
        Self { head, task: Some(task), entry: Some(entry), had_turn, stopped: OnceLock::new() }
    }

    /// Somebody whose task could not be read.
    pub(crate) fn refused(head: Head) -> Self {
        Self { head, task: None, entry: None, had_turn: false, stopped: OnceLock::new() }
    }

    /// What it asks for, or why that is not served.
    pub(crate) fn read(&self, options: &Options, limits: &native::Limits) -> Result<Job, Exception> {
        let Some(task) = &self.task else { return Err(Exception::new("celery.exceptions", "InvalidTaskError", "")) };
        let job = options.calls.read(task, limits)?;
        match celery::unservable(task, options.backend.is_some()) {
            Some(exception) => Err(exception),
            None => Ok(job),
        }
    }

    /// Whether somebody called it off before it came here, or while it waited.
    pub(crate) fn is_revoked(&self, shared: &Shared) -> bool {
        let (Some(task), Some(options)) = (&self.task, options(shared)) else { return false };
        // What was terminated stays so, whatever the memory of revokes has room for.
        let is_terminated = self.entry.as_ref().is_some_and(|entry| entry.terminated().is_cancelled());
        is_terminated || options.book.is_revoked(task)
    }

    /// Whether anybody can hear a result.
    pub(crate) fn is_heard(&self, options: &Options) -> bool {
        let has_queue = self.head.reply_to.as_deref().is_some_and(|queue| !queue.is_empty());
        !self.head.ignore_result && (has_queue || options.backend.is_some())
    }

    /// Waits for the task's turn under the rate limit of its name. A turn that is too far away to be waited for here is kept
    /// all the same: its instant is told, and the message waits in the broker until then.
    pub(super) async fn turn(&self, options: &Options, hold: Duration) -> Turn {
        let (Some(task), Some(entry), false) = (&self.task, &self.entry, self.had_turn) else { return Turn::Now };
        let Some(wait) = options.book.turn(&task.head.name) else { return Turn::Now };
        if wait > hold {
            return Turn::Later { not_before: Now::read().unix_ms.saturating_add(wait.as_millis() as u64) };
        }
        entry.schedule();
        let terminated = entry.terminated();
        tokio::select! {
            biased;
            () = terminated.cancelled() => {
                self.stopped.get_or_init(|| Stopped::Terminated);
                Turn::Never
            }
            () = sleep(wait) => Turn::Now,
        }
    }

    /// The same, called off without terminate while it waited: it is not begun.
    pub(super) fn revoke(&self) {
        self.stopped.get_or_init(|| Stopped::Revoked);
    }

    /// Whether a time limit ends it.
    pub(super) fn is_limited(&self, options: &Options) -> bool {
        let (soft, hard) = options.book.limits(&self.head.name);
        let of_task = self.task.as_ref().and_then(|task| task.soft_limit.or(task.hard_limit));
        of_task.or(soft).or(hard).is_some()
    }

    /// Completes when the task is to be given up: a time limit is over, or it is terminated. The reason is remembered. Where it is only
    /// revoked, its command is recalled: to Celery a task that waits for its device has not begun.
    async fn given_up(&self, options: &Options, recall: Option<&CancellationToken>) {
        let (Some(task), Some(entry)) = (&self.task, &self.entry) else { return pending().await };
        let (soft, hard) = options.book.limits(&task.head.name);
        let (soft, hard) = (task.soft_limit.or(soft), task.hard_limit.or(hard));
        let after = |limit: Option<f64>| async move {
            match limit.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
                Some(limit) => sleep(limit).await,
                None => pending().await,
            }
        };
        let terminated = async {
            // In either case, and in this one after the other.
            entry.called_off().cancelled_owned().await;
            if let Some(recall) = recall.filter(|_| !entry.terminated().is_cancelled()) {
                recall.cancel();
            }
            entry.terminated().cancelled_owned().await;
        };
        let why = tokio::select! {
            biased;
            () = terminated => Stopped::Terminated,
            () = after(soft) => Stopped::Soft,
            () = after(hard) => Stopped::Hard(hard.unwrap_or_default()),
        };
        self.stopped.get_or_init(|| why);
    }

    /// What an outcome is to who asked.
    pub(super) fn end(&self, options: &Options, outcome: &Outcome, about: &About<'_>) -> End {
        match (self.stopped.get(), outcome.status) {
            (Some(stopped), Status::Cancelled) => stopped.end(),
            _ => {
                let returns = options.calls.returns(&self.head.name).unwrap_or_default();
                celery::end(outcome, about, returns, celery::success)
            }
        }
    }

    /// The same for a bulk that was called off.
    pub(super) fn stopped(&self) -> Option<End> {
        self.stopped.get().map(|stopped| stopped.end())
    }

    /// What follows on an end, and the message that tells it.
    pub(super) fn ended(&self, options: &Options, end: End) -> (Ended, Envelope) {
        let now = Now::read().unix_ms;
        let after = match &self.task {
            Some(task) => celery::after(task, &end, &sender(options, now)),
            None => After::default(),
        };
        let result = self.result(&end, &after.children, now);
        (Ended { end, after }, result)
    }

    /// Its end, for whoever watches the node.
    pub(super) fn end_in_book(self, options: &Options, end: &End, runtime: Duration) {
        match self.entry {
            Some(entry) => entry.end(end, runtime),
            None => options.book.refused(&self.head, end),
        }
    }

    /// What follows on an end that was said before, perhaps by somebody who did not live to see to it.
    pub(super) fn ended_before(&self, options: &Options, result: &Envelope) -> Option<Ended> {
        let end = celery::read_end(&result.body)?;
        let now = Now::read().unix_ms;
        let after = celery::after(self.task.as_ref()?, &end, &sender(options, now));
        Some(Ended { end, after })
    }

    fn result(&self, end: &End, children: &[Child], now: u64) -> Envelope {
        let told = celery::result(&self.head, end, children, now);
        celery::reply(&self.head, told, celery::message_id(&self.head.id))
    }
}

impl Stopped {
    fn end(self) -> End {
        match self {
            Self::Soft => End::Failure(celery::soft_limit()),
            Self::Hard(seconds) => End::Failure(celery::hard_limit(seconds)),
            Self::Terminated => End::Revoked(Exception::revoked("terminated")),
            Self::Revoked => End::Revoked(Exception::revoked("revoked")),
        }
    }
}

/// Calls a Celery task's command off when a time limit is over or somebody terminates it, and recalls it when it is revoked. Never
/// completes: the command does.
pub(super) async fn call_off(
    shared: &Shared,
    asked: Option<&Asked>,
    cancel: &CancellationToken,
    recall: Option<&CancellationToken>,
) -> Infallible {
    if let (Some(asked), Some(options)) = (asked, options(shared)) {
        Box::pin(asked.given_up(options, recall)).await;
        cancel.cancel();
    }
    pending().await
}

/// Who sends what follows.
pub(super) fn sender(options: &Options, now_unix_ms: u64) -> Sender<'_> {
    Sender { node: &options.node, route: &*options.route, now_unix_ms }
}

/// Whether this worker serves Celery tasks, and how.
pub(crate) fn options(shared: &Shared) -> Option<&Options> {
    shared.options.celery.as_ref()
}
