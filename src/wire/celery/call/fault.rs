//! Why a call cannot be read.

use crate::wire::celery::Exception;

/// What is wrong with a call.
#[derive(Debug)]
pub(super) enum Fault {
    /// A text of our own: what is wrong, where, and what would be right.
    Said(String),
    /// An exception that a value brought with it.
    Raised(Exception),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<Exception> for Fault {
    fn from(exception: Exception) -> Self {
        Self::Raised(exception)
    }
}
