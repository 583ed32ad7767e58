//! Wire formats: AMQP messages into jobs, outcomes into AMQP messages.

pub mod native;
