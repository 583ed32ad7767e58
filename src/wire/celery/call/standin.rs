//! The values that Celery marks with a type, as plain JSON or bytes.

/// Typed values.
pub(super) mod typed {
    use crate::wire::celery::{Exception, Json};
    use bytes::Bytes;

    /// The bytes of a value that is marked as such.
    pub(crate) fn bytes(value: &Json) -> Option<Result<Bytes, Exception>> {
        let text = value.get().strip_prefix(r#"{"__type__": "bytes", "__value__": "#)?.strip_suffix('}')?;
        serde_json::from_str::<String>(text).ok().map(|text| Ok(text.into()))
    }

    /// The value with everything marked in it made plain.
    pub(crate) fn plain(value: &Json) -> Result<Json, Exception> {
        Ok(value.clone())
    }
}

/// Numbers that JSON does not know.
pub(super) mod nonfinite {
    use std::borrow::Cow;

    /// The text as Python wrote it.
    pub(crate) fn unmask(text: &str) -> Cow<'_, str> {
        match text.contains("\"\\uE000NaN\"") {
            true => Cow::Owned(text.replace("\"\\uE000NaN\"", "NaN")),
            false => Cow::Borrowed(text),
        }
    }
}
