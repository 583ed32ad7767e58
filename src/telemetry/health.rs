//! Whether each part of the process does its work, as `/readyz` tells it.

use super::logging::Escaped;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// The state of every named part; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    // Held for a look or a change of one entry only, never over an `.await`.
    parts: Arc<Mutex<BTreeMap<&'static str, Part>>>,
}

/// The state of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// It does its work.
    Up,
    /// It does not.
    Down {
        /// Why, for the operator; without secrets.
        reason: String,
    },
}

impl Health {
    /// These parts, all of them down because they are starting.
    pub fn new(parts: &[&'static str]) -> Self {
        let health = Self::default();
        for part in parts {
            health.down(part, "starting");
        }
        health
    }

    /// The part does its work.
    pub fn up(&self, part: &'static str) {
        self.set(part, Part::Up);
    }

    /// The part does not do its work, for this reason.
    pub fn down(&self, part: &'static str, reason: impl Into<String>) {
        self.set(part, Part::Down { reason: reason.into() });
    }

    /// Sets the state of a part, which becomes one of the parts that readiness asks for.
    pub fn set(&self, part: &'static str, state: Part) {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(part, state);
    }

    /// Whether every part is up.
    pub fn is_ready(&self) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).values().all(|part| *part == Part::Up)
    }

    /// One line for each part: `mqtt: up`, `amqp: down: connection refused`.
    pub fn report(&self) -> String {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().fold(String::new(), |mut lines, (name, part)| {
            // A reason can repeat what a broker said: escaped, it cannot look like another part's line.
            let _ = match part {
                Part::Up => writeln!(lines, "{name}: up"),
                Part::Down { reason } => writeln!(lines, "{name}: down: {}", Escaped(reason)),
            };
            lines
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_that_every_part_is_up() {
        let health = Health::new(&["mqtt", "amqp"]);
        assert_eq!(
            (health.is_ready(), health.report().as_str()),
            (false, "amqp: down: starting\nmqtt: down: starting\n")
        );
        health.up("amqp");
        assert!(!health.is_ready());
        health.clone().up("mqtt");
        assert_eq!((health.is_ready(), health.report().as_str()), (true, "amqp: up\nmqtt: up\n"));
        health.down("mqtt", "gone\namqp: up");
        assert_eq!((health.is_ready(), health.report().as_str()), (false, "amqp: up\nmqtt: down: gone\\namqp: up\n"));
    }
}
