//! Settings of the result backend, with Celery's defaults.

use std::fmt;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where results are stored, under which names, and for how long. Each has a setting of Celery's to agree with.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// `redis://` or `rediss://`, with user, password and database (`result_backend`). Never shown by `Debug`.
    pub url: String,
    /// What stands before each key (`global_keyprefix` of `result_backend_transport_options`). As in Celery a `_` follows
    /// unless it ends in one of `:_-.`.
    pub key_prefix: String,
    /// How long results and counters are kept (`result_expires`); `None` or nothing: for ever. Whole seconds, at least one.
    pub expires: Option<Duration>,
    /// How long failures are kept (`result_failure_expires`); `None`: as `expires`.
    pub failure_expires: Option<Duration>,
    /// Whether the parts of a chord are counted in the order of its header (`result_chord_ordered`). All workers on a chord
    /// have to agree.
    pub ordered_chords: bool,
    /// How long each operation may take, reconnects included.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379/0".to_owned(),
            key_prefix: String::new(),
            expires: Some(DAY),
            failure_expires: None,
            ordered_chords: true,
            deadline: Duration::from_secs(10),
        }
    }
}

impl Options {
    /// How long a result of that state is kept.
    pub(super) fn kept(&self, state: &str) -> Option<Duration> {
        match state {
            "FAILURE" => self.failure_expires.or(self.expires),
            _ => self.expires,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("key_prefix", &self.key_prefix).finish_non_exhaustive()
    }
}

/// As Redis takes it: 0 stands for "for ever", and less than a second counts as one.
pub(super) fn seconds(kept: Option<Duration>) -> u64 {
    kept.filter(|kept| !kept.is_zero()).map_or(0, |kept| kept.as_secs().max(1))
}

/// The prefix as it stands in keys.
pub(super) fn key_prefix(prefix: &str) -> String {
    match prefix.ends_with([':', '_', '-', '.']) || prefix.is_empty() {
        true => prefix.to_owned(),
        false => format!("{prefix}_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_parted_from_the_key_as_celery_does_it() {
        for (prefix, written) in
            [("", ""), ("app", "app_"), ("app:", "app:"), ("app-", "app-"), ("a.", "a."), ("a_", "a_")]
        {
            assert_eq!(key_prefix(prefix), written);
        }
    }

    #[test]
    fn what_expires_after_less_than_a_second_is_kept_for_one_and_not_for_ever() {
        assert_eq!(seconds(Some(Duration::from_millis(300))), 1);
        assert_eq!(seconds(Some(Duration::ZERO)), 0);
        assert_eq!(seconds(None), 0);
        assert_eq!(seconds(Options::default().kept("SUCCESS")), 86_400);
    }

    #[test]
    fn failures_have_their_own_time_where_they_are_given_one() {
        let minute = Some(Duration::from_secs(60));
        let options = Options { failure_expires: minute, ..Options::default() };
        assert_eq!((options.kept("FAILURE"), options.kept("REVOKED")), (minute, Some(DAY)));
        assert_eq!(Options::default().kept("FAILURE"), Some(DAY));
    }

    #[test]
    fn options_show_no_secret() {
        let options = Options { url: "redis://u:canary@h".to_owned(), ..Options::default() };
        assert!(!format!("{options:?}").contains("canary"));
    }
}
