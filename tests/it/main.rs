//! Every test that needs more than one module: one binary, so that it links once and starts RabbitMQ once.

#![expect(clippy::unwrap_used, reason = "a test and its helpers fail by panicking")]

mod harness;

mod brokers;
mod cli;
mod commands;
mod fixtures;
mod proxy;
