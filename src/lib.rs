//! Sends commands to devices over MQTT from a task queue, and brings the answers back.

pub mod deadline;
pub mod envelope;
pub mod excerpt;
pub mod job;
pub mod metrics;
pub mod outcome;
pub mod shutdown;
mod table;
pub mod topic;

pub mod amqp;
pub mod backend;
pub mod mqtt;
pub mod telemetry;
mod tls;

pub mod commander;
pub mod profile;
pub mod wire;

pub mod bulk;
pub mod claims;
pub mod node;
pub mod schedule;
pub mod worker;

pub mod app;
pub mod cli;
pub mod config;
pub mod demo;
pub mod simulator;
