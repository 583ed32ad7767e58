//! What Ctrl-C means while the results of a bulk come: on a terminal a question first, everywhere else the end of watching.

use super::report::Plain;
use std::io::{BufRead, IsTerminal};
use tokio::sync::mpsc;

/// What is to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Nothing: results are watched.
    Watching,
    /// Whether the bulk is to be cancelled.
    Asked,
    /// Nothing any more: it is being cancelled, and its end is watched.
    Cancelling,
}

/// What is heard from the person at the terminal, and of what was done for them.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// Ctrl-C, or SIGINT from somewhere else.
    Interrupt,
    /// A line.
    Line(&'a str),
    /// No line will come any more.
    NoMore,
    /// The bulk could not be called off.
    NotRecorded,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Ask, or ask again.
    Ask,
    /// Show how it goes, as before the question.
    GoOn,
    /// Call the bulk off and watch its end.
    Cancel,
    /// Stop watching; the bulk is left to itself.
    Leave,
}

impl Question {
    /// Decides. `answerable`: somebody is there to be asked.
    pub fn hears(&mut self, heard: Heard<'_>, answerable: bool) -> Act {
        let (next, act) = match (*self, heard) {
            (Self::Watching, Heard::Interrupt) if answerable => (Self::Asked, Act::Ask),
            // Nobody to ask, or asked already and in a hurry.
            (state, Heard::Interrupt) => (state, Act::Leave),
            (Self::Asked, Heard::Line(line)) => match line.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => (Self::Cancelling, Act::Cancel),
                "n" | "no" => (Self::Asked, Act::Leave),
                "c" | "continue" => (Self::Watching, Act::GoOn),
                _ => (Self::Asked, Act::Ask),
            },
            // Who closes the terminal's input cannot answer, and asked for an end of this.
            (Self::Asked, Heard::NoMore) => (Self::Asked, Act::Leave),
            (Self::Cancelling, Heard::NotRecorded) => (Self::Watching, Act::GoOn),
            (state, Heard::Line(_) | Heard::NoMore | Heard::NotRecorded) => (state, Act::Nothing),
        };
        *self = next;
        act
    }
}

/// The question in words.
pub fn words(id: &str) -> String {
    format!("Cancel the bulk {}? [y]es, [n]o: leave it running, [c]ontinue watching ", Plain(id))
}

/// Whether somebody is there to be asked.
pub fn is_answerable() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The lines of standard input, from the first question on.
#[derive(Debug, Default)]
pub struct Lines(Option<mpsc::Receiver<String>>);

impl Lines {
    /// From now on lines are read, if they are not already.
    ///
    /// On a thread of its own that nobody waits for: one of the runtime's would keep the program from ending until another line
    /// is typed.
    pub fn listen(&mut self) {
        self.0.get_or_insert_with(|| {
            let (sender, lines) = mpsc::channel(1);
            std::thread::spawn(move || {
                for line in std::io::stdin().lock().lines() {
                    let Ok(line) = line else { break };
                    if sender.blocking_send(line).is_err() {
                        break;
                    }
                }
            });
            lines
        });
    }

    /// The next one; `None` once where there are no more. Never, where nobody listens. Cancel safe.
    pub async fn next(&mut self) -> Option<String> {
        let Some(lines) = &mut self.0 else { return std::future::pending().await };
        let line = lines.recv().await;
        if line.is_none() {
            self.0 = None;
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Heard::{Interrupt, Line, NoMore, NotRecorded};

    #[track_caller]
    fn told(heard: &[Heard<'_>], answerable: bool, acts: &[Act]) {
        let mut question = Question::Watching;
        let done: Vec<Act> = heard.iter().map(|heard| question.hears(*heard, answerable)).collect();
        assert_eq!(done, acts, "{heard:?}");
    }

    #[test]
    fn the_first_interrupt_asks_and_the_answer_decides() {
        told(&[Interrupt, Line("y")], true, &[Act::Ask, Act::Cancel]);
        told(&[Interrupt, Line(" No ")], true, &[Act::Ask, Act::Leave]);
        told(&[Interrupt, Line("c"), Interrupt, Line("yes")], true, &[Act::Ask, Act::GoOn, Act::Ask, Act::Cancel]);
        told(&[Interrupt, Line(""), Line("what?"), Line("n")], true, &[Act::Ask, Act::Ask, Act::Ask, Act::Leave]);
    }

    #[test]
    fn a_second_interrupt_leaves_at_once_and_so_does_one_that_nobody_can_be_asked_about() {
        told(&[Interrupt, Interrupt], true, &[Act::Ask, Act::Leave]);
        told(&[Interrupt], false, &[Act::Leave]);
        told(&[Interrupt, NoMore], true, &[Act::Ask, Act::Leave]);
        told(&[Interrupt, Line("y"), Interrupt], true, &[Act::Ask, Act::Cancel, Act::Leave]);
    }

    #[test]
    fn what_nobody_asked_for_changes_nothing() {
        told(&[Line("y"), NoMore, NotRecorded], true, &[Act::Nothing; 3]);
        told(&[Interrupt, Line("y"), Line("n")], true, &[Act::Ask, Act::Cancel, Act::Nothing]);
        // What could not be called off is watched on, and may be called off again.
        told(&[Interrupt, Line("y"), NotRecorded, Interrupt], true, &[Act::Ask, Act::Cancel, Act::GoOn, Act::Ask]);
    }

    #[test]
    fn the_question_shows_no_controls_of_an_id() {
        assert!(words("a\u{1b}b").starts_with("Cancel the bulk a\\u{1b}b? [y]es, "));
    }
}
