//! Sends commands to devices over MQTT from a task queue, and brings the answers back.

pub mod deadline;
pub mod demo;
pub mod envelope;
pub mod excerpt;
pub mod job;
pub mod metrics;
pub mod mqtt;
pub mod outcome;
pub mod shutdown;
pub mod profile;
pub mod telemetry;
pub mod topic;
pub mod wire;
