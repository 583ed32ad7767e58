//! Wire formats: AMQP messages into jobs, outcomes into AMQP messages.

pub mod bulk;
pub mod celery;
pub mod dead_letter;
pub mod native;
