//! What tests are made of: real brokers, a path between that can fail, devices, a worker process and a caller.
//!
//! A broker that is not installed fails the test: a check that was skipped is no check.

pub(crate) mod caller;
pub(crate) mod celery;
pub(crate) mod checker;
pub(crate) mod device;
pub(crate) mod eventually;
pub(crate) mod mosquitto;
pub(crate) mod proxy;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
pub(crate) mod scripted;
pub(crate) mod source;
pub(crate) mod worker;

/// A name that no other test uses, for queues on the node that all of them share.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:016x}", rand::random::<u64>())
}
