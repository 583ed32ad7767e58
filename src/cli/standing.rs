//! How a bulk stands, for a person: in a table, in one line, and what it means where nobody knows it.

use super::report::Plain;
use crate::outcome::Status;
use crate::wire::bulk::{Stand, What, Word};
use std::fmt::Write;

/// How many failed devices are listed for a person.
const LISTED: usize = 20;

/// A state in a word or two.
pub fn name(state: Stand) -> &'static str {
    match state {
        Stand::NotKnown => "not known",
        Stand::Running => "running",
        Stand::Paused => "paused",
        Stand::Aborting => "aborting",
        Stand::Cancelling => "cancelling",
        Stand::Completed => "completed",
        Stand::Aborted => "aborted",
        Stand::Cancelled => "cancelled",
    }
}

/// How many devices have an outcome, and how many of those are failures.
fn done(word: &Word) -> (usize, usize) {
    let done = word.counts.values().fold(0_usize, |sum, count| sum.saturating_add(*count));
    let succeeded = word.counts.get(Status::Succeeded.as_str()).copied().unwrap_or_default();
    (done, done.saturating_sub(succeeded))
}

/// State, counts, what is under way and the first failures.
pub fn table(word: &Word) -> String {
    let (done, failures) = done(word);
    let waiting = word.total.saturating_sub(done).saturating_sub(word.outstanding);
    let by_status = Status::ALL.iter().map(|status| {
        let count = word.counts.get(status.as_str()).copied().unwrap_or_default();
        (status.as_str(), count)
    });
    let width = word.total.to_string().len().max(7);
    let mut text = format!("{}: {}\n", Plain(&word.id), name(word.state));
    for (what, count) in by_status.chain([("under way", word.outstanding), ("waiting", waiting)]) {
        if count > 0 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{what:<14}{count:>width$}");
        }
    }
    let _ = write!(text, "{:<14}{:>width$}   in {} s", "devices", word.total, seconds(word));
    for device in word.failed.iter().take(LISTED) {
        let _ = write!(text, "\nfailed: {}", Plain(device));
    }
    let listed = word.failed.len().min(LISTED);
    if failures > listed {
        let _ = write!(text, "\n… and {} more", failures - listed);
    }
    text
}

/// The same in one line, to be read again and again.
pub fn line(word: &Word) -> String {
    let (done, failures) = done(word);
    let (id, state, total, outstanding) = (Plain(&word.id), name(word.state), word.total, word.outstanding);
    let seconds = seconds(word);
    format!("{id}: {state}, {done} of {total} done, {failures} failed, {outstanding} under way, {seconds} s")
}

/// What it may mean that nobody knows the bulk, and what can still be done.
pub fn not_known(id: &str, what: What) -> String {
    let so = match what {
        What::Status => "its requester is told how it goes",
        What::Pause => "such a bulk cannot be paused",
        What::Resume => "such a bulk cannot have been paused",
    };
    let id = Plain(id);
    format!(
        "{id}: not known: it never came, ended long ago, or waits in its queue still; or it is small, then one worker runs it \
         alone and {so}. `switchboard cancel {id}` calls it off wherever it is"
    )
}

/// What came of asking for a pause or its end.
pub fn change(word: &Word, what: What) -> String {
    let (id, state) = (Plain(&word.id), name(word.state));
    let (done, _) = done(word);
    let (total, outstanding) = (word.total, word.outstanding);
    match (what, word.state) {
        (_, Stand::NotKnown) => not_known(&word.id, what),
        (_, Stand::Completed | Stand::Aborted | Stand::Cancelled) => {
            format!("{id}: {state}: it has ended, and nothing is changed")
        }
        (_, Stand::Aborting | Stand::Cancelling) => {
            format!(
                "{id}: {state}: it is about to end, and nothing is changed; {outstanding} devices are with workers still"
            )
        }
        (_, Stand::Paused) => {
            format!(
                "{id}: paused with {done} of {total} devices done; {outstanding} are with workers and come to their end"
            )
        }
        (_, Stand::Running) => format!("{id}: running with {done} of {total} devices done"),
    }
}

fn seconds(word: &Word) -> String {
    format!("{}.{}", word.duration_ms / 1000, word.duration_ms % 1000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn word(state: Stand, counts: &[(&str, usize)], failed: usize) -> Word {
        Word {
            id: "b\u{1b}".into(),
            state,
            total: 1000,
            counts: counts.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect(),
            outstanding: 100,
            failed: (0..failed).map(|index| Arc::from(format!("d{index}"))).collect(),
            duration_ms: 12_345,
        }
    }

    #[test]
    fn a_person_reads_counts_and_the_first_failures() {
        let text = table(&word(Stand::Running, &[("timed_out", 2), ("succeeded", 40), ("invalid", 0)], 2));
        let right = "b\\u{1b}: running\nsucceeded          40\ntimed_out           2\nunder way         100\n\
                     waiting           858\ndevices          1000   in 12.3 s\nfailed: d0\nfailed: d1";
        assert_eq!(text, right);
        let many = table(&word(Stand::Aborted, &[("rejected", 25)], 22));
        assert_eq!((many.matches("failed: ").count(), many.lines().last()), (20, Some("… and 5 more")));
        let short = line(&word(Stand::Paused, &[("timed_out", 2), ("succeeded", 40)], 2));
        assert_eq!(short, "b\\u{1b}: paused, 42 of 1000 done, 2 failed, 100 under way, 12.3 s");
    }

    #[test]
    fn counts_that_make_no_sense_are_shown_all_the_same() {
        let text = table(&word(Stand::Running, &[("succeeded", usize::MAX), ("rejected", usize::MAX)], 0));
        assert!(text.contains("devices          1000"), "{text}");
    }

    #[test]
    fn asking_for_a_pause_says_what_came_of_it() {
        let said = |state, what| change(&word(state, &[("succeeded", 40)], 0), what);
        assert!(said(Stand::Paused, What::Pause).contains("paused with 40 of 1000 devices done; 100 are with workers"));
        assert!(said(Stand::Running, What::Resume).ends_with("running with 40 of 1000 devices done"));
        assert!(said(Stand::Cancelling, What::Pause).contains("about to end"));
        assert!(said(Stand::Completed, What::Resume).contains("has ended"));
        let not_known = said(Stand::NotKnown, What::Pause);
        assert!(not_known.contains("one worker runs it alone and such a bulk cannot be paused"), "{not_known}");
    }
}
