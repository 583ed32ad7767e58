//! Sends commands to devices over MQTT from a task queue, and brings the answers back.

pub mod deadline;
pub mod demo;
pub mod envelope;
pub mod job;
pub mod outcome;
pub mod topic;
