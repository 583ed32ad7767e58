//! Every test that needs more than one module: one binary, so that it links once and starts RabbitMQ once.

mod brokers;
mod cli;
