//! The worker as a Celery node: seen by `celery inspect`, `celery events` and Flower, and controlled by them.
//!
//! [`Book`] knows the tasks under way; the worker writes into it. The node reads it, answers control commands and tells
//! events. What a command wants of the worker goes to it as an order.

mod book;
mod record;
mod register;
mod revoked;
mod terms;

pub use book::{Book, Entry};
pub use record::Via;

#[cfg(test)]
mod tests;
