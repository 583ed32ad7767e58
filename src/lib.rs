//! Sends commands to devices over MQTT from a task queue, and brings the answers back.

pub mod amqp;
pub mod deadline;
pub mod envelope;
pub mod job;
pub mod outcome;
pub mod topic;
