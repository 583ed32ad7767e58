//! Faults at length: brokers and workers that die, freeze and fall silent under load, and the same check after each.
//!
//! Every scene here takes longer than a test should, so none runs unless it is asked for: `make faults`, `make soak`. The
//! seed that is printed repeats a run as far as it was chosen: jobs, devices, victims and moments; not what a machine makes
//! of them.

#![expect(clippy::unwrap_used, reason = "a test and its helpers fail by panicking")]

#[path = "../it/harness/mod.rs"]
#[allow(dead_code, reason = "what scenes do not need of the harness, the other tests do")]
mod harness;

mod bulks;
mod claims;
mod cluster;
mod footprint;
mod inputs;
mod links;
mod load;
mod mqtt;
mod nodes;
mod outages;
mod poison;
mod relay;
mod requesters;
mod scene;
mod schedules;
mod seed;
mod soak;
mod verdict;
mod workers;
