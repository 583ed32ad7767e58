//! Asking before all dead letters are put back or thrown away.

use std::io::{IsTerminal, Write};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long an answer may take: meanwhile nobody else sees the letters, and the broker ends what holds them too long.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// Whether there is somebody to ask, and something to ask about.
pub fn is_needed(of_all: bool, yes: bool, dry_run: bool, count: usize) -> bool {
    needed(of_all, yes, dry_run, count, std::io::stdin().is_terminal() && std::io::stderr().is_terminal())
}

fn needed(of_all: bool, yes: bool, dry_run: bool, count: usize, terminal: bool) -> bool {
    of_all && !yes && !dry_run && count > 0 && terminal
}

/// Asks on the terminal; anything but a yes in time is a no.
pub async fn given(question: &str) -> bool {
    // Nobody to read it: the answer cannot come either.
    let _ = write!(std::io::stderr(), "{question} [y/N] ");
    let (answer, answered) = oneshot::channel();
    // A thread of its own: one of the runtime's would keep the program from ending while it waits for a line.
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        drop(answer.send(read.map(|_| line)));
    });
    match timeout(ANSWER_WITHIN, answered).await {
        Ok(Ok(Ok(line))) => is_yes(&line),
        _ => false,
    }
}

fn is_yes(line: &str) -> bool {
    ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_is_asked_and_only_about_all() {
        assert!(needed(true, false, false, 3, true));
        assert!(!needed(false, false, false, 3, true), "they were named");
        assert!(!needed(true, true, false, 3, true), "it was said already");
        assert!(!needed(true, false, true, 3, true), "nothing will be done");
        assert!(!needed(true, false, false, 0, true), "there is nothing to do");
        assert!(!needed(true, false, false, 3, false), "nobody is there");
        assert!(is_yes("y\n") && is_yes(" YES \n") && !is_yes("\n") && !is_yes("") && !is_yes("yeah\n"));
    }
}
