//! Stand-in.
#![allow(missing_docs)]
use super::*;
use crate::envelope::Envelope;
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    pub max_body_bytes: usize,
}
#[derive(Clone, Debug)]
pub struct Refusal {
    pub head: Head,
    pub exception: Exception,
}
pub fn is_task(_: &Envelope) -> bool {
    false
}
pub fn routing_key(text: &str) -> &str {
    text
}
pub fn decode(_: &Envelope, _: &Bounds) -> Result<Task, Box<Refusal>> {
    Err(Box::new(Refusal { head: Head::default(), exception: Exception::revoked("x") }))
}
