//! What a fleet did, counted.

use std::fmt;

/// What a fleet heard and did. Each command is in exactly one of the fields from `answered` to `lost`; an answer that its
/// connection did not carry is in `unsent` besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands for its devices.
    pub commands: u64,
    /// Answered with success, once.
    pub answered: u64,
    /// Answered with an error.
    pub rejected: u64,
    /// Answered with success, twice.
    pub duplicated: u64,
    /// Answered after the time.
    pub late: u64,
    /// Not answered, as was wished.
    pub silent: u64,
    /// One-way: they named no place for an answer.
    pub one_way: u64,
    /// Not answered because the fleet stopped first.
    pub unfinished: u64,
    /// Not answered because too much was under way.
    pub lost: u64,
    /// Messages for devices that it does not play, or that are no requests of the profile.
    pub ignored: u64,
    /// Answers that the broker refused or the connection lost.
    pub unsent: u64,
}

impl fmt::Display for Counts {
    /// One line; what never happened and should not is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commands, answered, rejected, duplicated, late, silent, .. } = self;
        write!(
            f,
            "{commands} commands: {answered} answered, {rejected} rejected, {duplicated} answered twice, {late} late, \
             {silent} silent"
        )?;
        for (count, what) in [
            (self.one_way, "without a place for an answer"),
            (self.unfinished, "not answered yet"),
            (self.lost, "lost because too much was under way"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        for (count, what) in [(self.ignored, "messages were for nobody here"), (self.unsent, "answers were not sent")] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_happened_and_nothing_of_what_did_not() {
        let counts = Counts { commands: 7, answered: 4, silent: 2, unfinished: 1, ..Counts::default() };
        assert_eq!(
            counts.to_string(),
            "7 commands: 4 answered, 0 rejected, 0 answered twice, 0 late, 2 silent, 1 not answered yet"
        );
        assert!(Counts { unsent: 3, ..counts }.to_string().ends_with("not answered yet; 3 answers were not sent"));
    }
}
