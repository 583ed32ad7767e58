//! A command that is claimed before it is sent: the permit that claims it, and what is said where somebody else has it.

use super::Shared;
use super::admission::perhaps_run;
use crate::amqp::Hold;
use crate::claims::{Asking, Claim, Claimed, Decision, Log, Standing, Subject, decide};
use crate::commander::{Begun, Bounds, LateHandler, NotStarted, Permit};
use crate::deadline::Now;
use crate::envelope::Envelope;
use crate::job::Guarantee;
use crate::outcome::{Executed, Failure, Outcome, Status};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long a command that may run twice waits for its claim, and a "not sent" that is certain for its record.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether a delivery is still ours, while its command waits for the log.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long a "not sent" may take to be proved, where somebody else had the job before.
const PROVE_WITHIN: Duration = Duration::from_secs(10);

/// One command that has to be claimed before it is sent: its permit.
pub(crate) struct Claimant {
    log: Log,
    hold: Hold,
    subject: Subject,
    asks: Asks,
    /// When the job was made, as far as it says: milliseconds since the Unix epoch.
    made_at: Option<u64>,
    state: Mutex<State>,
}

/// What a job asks for, and how it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asks {
    pub(crate) guarantee: Guarantee,
    pub(crate) redelivered: bool,
    /// Whether it lost so many workers that it is run by itself. Then it waits for nobody: others wait for it.
    pub(crate) apart: bool,
}

#[derive(Default)]
struct State {
    claim: Option<Claim>,
    denied: Option<Denial>,
}

/// Why a command was not let through.
enum Denial {
    /// What the log says of it.
    Log(Decision),
    /// The log says nothing.
    Unavailable,
    /// The delivery is no longer ours.
    Lost,
}

/// What came of a command.
pub(crate) enum Ran {
    /// This, and the claim in which it is to be written down before it is said.
    Outcome(Outcome, Option<Claim>),
    /// It was run before; this was said.
    Repeat(Arc<Envelope>, Status),
    /// It was run before and ended so; what was said is not known any more.
    Unsaid(Status),
    /// Nothing was sent.
    NotStarted(NotStarted),
    /// Somebody else had it and has let go of it: it is to be looked at anew.
    Again,
}

/// Runs a command that has its place in the lane; claims it first, if it has a claimant.
pub(crate) async fn run(
    shared: &Shared,
    claimant: Option<&Claimant>,
    begun: Box<Begun>,
    late: &(impl Fn() -> Option<LateHandler> + Sync),
) -> Ran {
    // Apart, so that a command without a claim does not keep the place for one.
    if let Some(claimant) = claimant {
        return Box::pin(run_claimed(shared, claimant, begun, late)).await;
    }
    match shared.commander.finish(begun, late).await {
        Ok(outcome) => Ran::Outcome(outcome, None),
        Err(why) => Ran::NotStarted(why),
    }
}

async fn run_claimed(
    shared: &Shared,
    claimant: &Claimant,
    begun: Box<Begun>,
    late: &(impl Fn() -> Option<LateHandler> + Sync),
) -> Ran {
    let stop = shared.shutdown.soft();
    // What is known already needs neither the device's turn nor a connection to it.
    if let Some(known) = claimant.known() {
        drop(begun);
        return claimant.told(known, &stop).await;
    }
    match shared.commander.finish(begun, late).await {
        Ok(outcome) if outcome.executed == Executed::No && !claimant.owns() => claimant.proved(outcome, &stop).await,
        Ok(outcome) => Ran::Outcome(outcome, claimant.take()),
        Err(NotStarted::Denied) => {
            let denial = claimant.state().denied.take().unwrap_or(Denial::Unavailable);
            claimant.told(denial, &stop).await
        }
        Err(why) => {
            if let Some(claim) = claimant.take() {
                claim.release();
            }
            Ran::NotStarted(why)
        }
    }
}

impl Claimant {
    pub(crate) fn new(log: Log, hold: Hold, subject: Subject, asks: Asks, made_at: Option<u64>) -> Self {
        Self { log, hold, subject, asks, made_at, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owns(&self) -> bool {
        self.state().claim.is_some()
    }

    /// The claim, to be ended.
    pub(crate) fn take(&self) -> Option<Claim> {
        self.state().claim.take()
    }

    fn decide(&self, standing: &Standing) -> Decision {
        let covered = self.log.covers(self.made_at);
        let Asks { guarantee, redelivered, .. } = self.asks;
        decide(standing, Asking { guarantee, redelivered, covered, now: Now::read().unix_ms })
    }

    /// Completes when the delivery is no longer ours: then whoever has it now decides.
    async fn lost(&self) {
        while self.hold.is_current() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// What the log says already that no waiting would change for the better.
    fn known(&self) -> Option<Denial> {
        match self.decide(&self.log.standing(&self.subject)) {
            // A log that was not read up yet may know more.
            Decision::Run | Decision::RunAnyway | Decision::Uncovered => None,
            decision => Some(Denial::Log(decision)),
        }
    }

    /// Claims, or hears why not.
    async fn claim(&self, bounds: Bounds) -> Result<Claim, Denial> {
        let may_repeat = self.asks.guarantee == Guarantee::AtLeastOnce;
        let not_after = match may_repeat {
            true => bounds.not_after.min(Instant::now() + PATIENCE),
            false => bounds.not_after,
        };
        // Before that the log knows neither its horizon nor what it is about to read.
        if !self.log.ready(not_after).await {
            return Err(Denial::Unavailable);
        }
        let most = bounds.not_after.saturating_duration_since(Instant::now()) + bounds.answer_within + self.log.slack();
        let until = Now::read().unix_ms.saturating_add(u64::try_from(most.as_millis()).unwrap_or(u64::MAX));
        loop {
            match self.decide(&self.log.standing(&self.subject)) {
                Decision::Run => {}
                decision => return Err(Denial::Log(decision)),
            }
            match self.log.claim(&self.subject, until, !self.asks.redelivered, not_after).await {
                // Reading may have begun anew meanwhile, and then less is known than when it was asked.
                Claimed::Mine(claim) if !may_repeat && self.asks.redelivered && !self.log.covers(self.made_at) => {
                    claim.release();
                    return Err(Denial::Log(Decision::Uncovered));
                }
                Claimed::Mine(claim) => return Ok(claim),
                Claimed::Taken(_) => {}
                Claimed::Unavailable => return Err(Denial::Unavailable),
            }
        }
    }

    /// What is to be said or done where the command was not let through. Waits for whoever has it, where that is right.
    async fn told(&self, denial: Denial, stop: &CancellationToken) -> Ran {
        let decision = match denial {
            Denial::Log(decision) => decision,
            Denial::Lost => return Ran::NotStarted(NotStarted::Revoked),
            Denial::Unavailable if self.asks.redelivered => {
                let why = "it was delivered before, and the claim log could not be asked how far it came";
                return Ran::Outcome(perhaps_run(why), None);
            }
            Denial::Unavailable => {
                let message = "it could not be claimed within the time limit: the claim log is not available";
                let failure = Failure::new("not_sent_in_time", message);
                return Ran::Outcome(Outcome::not_sent(Status::Expired, failure), None);
            }
        };
        match decision {
            Decision::Repeat(reply, status) => Ran::Repeat(reply, status),
            Decision::Unsaid(status) => Ran::Unsaid(status),
            Decision::Wait { .. } if self.asks.apart => {
                Ran::Outcome(perhaps_run("a worker claimed it and has not said what came of it"), None)
            }
            Decision::Wait { until } => {
                let until = Now::read().instant_of(until);
                tokio::select! {
                    biased;
                    _ = self.log.outcome_of(&self.subject, until) => Ran::Again,
                    () = self.lost() => Ran::NotStarted(NotStarted::Revoked),
                    () = stop.cancelled() => Ran::NotStarted(NotStarted::Closed),
                }
            }
            Decision::Abandoned if !self.asks.redelivered => Ran::Outcome(abandoned(), None),
            Decision::Abandoned => {
                Ran::Outcome(perhaps_run("a worker claimed it and did not say what came of it"), None)
            }
            Decision::Uncovered => {
                let why = "it was delivered before, and is older than what the claim log knows";
                Ran::Outcome(perhaps_run(why), None)
            }
            Decision::Run | Decision::RunAnyway => Ran::Again,
        }
    }

    /// A "not sent" that no claim of ours stands behind: somebody else may have sent it, or may be given it before it is acked.
    ///
    /// A claim has read everything that was written before it, and what came of it is written down: whoever is given the job next says
    /// the same. Where the log cannot be asked, only a job that was never delivered before is known not to have been sent.
    async fn proved(&self, no: Outcome, stop: &CancellationToken) -> Ran {
        let redelivered = self.asks.redelivered;
        let within = if redelivered { PROVE_WITHIN } else { PATIENCE };
        let bounds = Bounds { not_after: Instant::now() + within, answer_within: Duration::ZERO };
        let denial = match self.claim(bounds).await {
            Ok(claim) if !redelivered || self.log.covers(self.made_at) => return Ran::Outcome(no, Some(claim)),
            Ok(claim) => {
                claim.release();
                Denial::Log(Decision::Uncovered)
            }
            Err(Denial::Unavailable) if !redelivered => match self.decide(&self.log.standing(&self.subject)) {
                Decision::Run => return Ran::Outcome(no, None),
                decision => Denial::Log(decision),
            },
            Err(denial) => denial,
        };
        match denial {
            Denial::Log(Decision::RunAnyway) => Ran::Outcome(perhaps_run(LATE), None),
            denial => self.told(denial, stop).await,
        }
    }
}

const LATE: &str = "another worker claimed it and did not say what came of it before its time was over";

impl Permit for Claimant {
    fn granted(&self) -> bool {
        self.hold.is_current()
    }

    fn pass(&self) -> bool {
        if !self.granted() {
            return false;
        }
        match &self.state().claim {
            Some(claim) => {
                claim.sent();
                true
            }
            // What may run twice is sent without a claim where none is to be had.
            None => self.asks.guarantee == Guarantee::AtLeastOnce,
        }
    }

    fn obtain(&self, bounds: Bounds) -> Option<Pin<Box<dyn Future<Output = bool> + Send + '_>>> {
        Some(Box::pin(async move {
            let claimed = tokio::select! {
                biased;
                claimed = self.claim(bounds) => claimed,
                () = self.lost() => Err(Denial::Lost),
            };
            let mut state = self.state();
            match claimed {
                Ok(claim) => state.claim = Some(claim),
                Err(Denial::Unavailable | Denial::Log(Decision::RunAnyway))
                    if self.asks.guarantee == Guarantee::AtLeastOnce =>
                {
                    state.claim = Some(self.log.without_claim(&self.subject));
                }
                Err(denial) => state.denied = Some(denial),
            }
            state.claim.is_some()
        }))
    }
}

/// What is said of a command that was carried out before, where what was said then is not known any more.
pub(crate) fn unsaid(status: Status) -> Outcome {
    let message = format!("it was run before and ended as {}; the answer is not kept any more", status.as_str());
    Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("answer_forgotten", message)))
}

fn abandoned() -> Outcome {
    let message =
        "another worker claimed the same id and did not say what came of it within its time; the device may have acted";
    Outcome::new(Status::Unknown, Executed::Unknown, Some(Failure::new("claimed", message)))
}
