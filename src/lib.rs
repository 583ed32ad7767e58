//! Sends commands to devices over MQTT from a task queue, and brings the answers back.

pub mod config;
pub mod deadline;
pub mod envelope;
pub mod job;
pub mod metrics;
pub mod outcome;
pub mod shutdown;
pub mod telemetry;
pub mod topic;
