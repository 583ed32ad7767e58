//! What SIGTERM and SIGINT mean: the first one to finish, the second one to end now.

use crate::shutdown::Shutdown;
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Turns signals into stages of a stop, until the hard stop.
///
/// From the first poll on, neither signal ends the process by itself. Dropping the future leaves both without effect.
///
/// # Errors
///
/// The system refuses the registration.
pub async fn obey(shutdown: Shutdown) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let hard = shutdown.hard();
    loop {
        // Both kinds of signal are cancel-safe: one that came is not lost when the other is taken.
        let name = tokio::select! {
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT",
            () = hard.cancelled() => return Ok(()),
        };
        if shutdown.soft().is_cancelled() {
            tracing::warn!("{name} again: stopping now");
            shutdown.abort();
        } else {
            tracing::info!("{name}: finishing what runs; once more to stop now");
            shutdown.begin();
        }
    }
}

/// Completes at SIGINT, which no longer ends the process by itself from the first poll on. Never, where the system refuses
/// the registration: then it still does.
pub async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// SIGINT again and again: one that comes while another is dealt with is not lost.
#[derive(Debug)]
pub struct Interrupts(Option<Signal>);

impl Interrupts {
    /// From now on SIGINT no longer ends the process by itself; where the system refuses the registration, it still does.
    pub fn caught() -> Self {
        Self(signal(SignalKind::interrupt()).ok())
    }

    /// Completes at the next one. Cancel safe.
    pub async fn next(&mut self) {
        let came = match &mut self.0 {
            Some(signal) => signal.recv().await.is_some(),
            None => false,
        };
        if !came {
            std::future::pending().await
        }
    }
}
