//! The values that Celery marks with a type, as plain JSON or bytes.

use crate::wire::celery::{Exception, Json};
use bytes::Bytes;
use std::borrow::Cow;

/// The bytes of a value that is marked as such.
pub(super) fn bytes(_value: &Json) -> Option<Result<Bytes, Exception>> {
    None
}

/// The value with everything marked in it made plain.
pub(super) fn plain(value: &Json) -> Result<Json, Exception> {
    Ok(value.clone())
}

/// The text as Python wrote it.
pub(super) fn unmask(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
