//! The demonstration: everything at work on private brokers, and what came of it.

pub mod brokers;
mod ledger;
mod play;
mod script;
mod table;
mod workers;

pub use play::{Options, Outcome, run};
