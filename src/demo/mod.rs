//! The demonstration: everything at work on private brokers, and what came of it.

pub mod brokers;
mod ledger;
mod play;
mod rounds;
pub mod scale;
mod script;
mod stage;
mod table;
mod workers;

pub use play::{Options, Outcome, run};
