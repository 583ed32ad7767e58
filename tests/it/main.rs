//! Every test that needs more than one module: one binary, so that it links once and starts RabbitMQ once.

#![expect(clippy::unwrap_used, reason = "a test and its helpers fail by panicking")]

mod harness;

mod amqp;
mod brokers;
mod celery_node;
mod claims_log;
mod claims_workers;
mod cli;
mod commands;
mod dashboards;
mod dead_letters;
mod demo;
mod failures;
mod fixtures;
mod floors;
mod journey;
mod limits;
mod mqtt_agent;
mod mqtt_ends;
mod mqtt_limits;
mod mqtt_peer;
mod mqtt_session;
mod mqtt_transport;
mod mqtt_web_server;
mod packaging;
mod proxy;
mod readme;
mod simulate;
mod worker_answers;
mod worker_bulk;
mod worker_cancel;
mod worker_cuts;
mod worker_ending;
mod worker_inputs;
mod worker_load;
mod worker_memory;
mod worker_outages;
mod worker_overload;
mod worker_poison;
mod worker_presence;
mod worker_queues;
mod worker_repeats;
mod worker_replicas;
mod worker_rolling;
mod worker_scene;
mod worker_statuses;
mod worker_times;
