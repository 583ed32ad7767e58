//! What `switchboard demo` and the tests stand on: brokers of one's own, gone when the process that started them is.

pub mod brokers;
