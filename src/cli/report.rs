//! How results look on the terminal: for a person in a few lines, for a program as they came.

use super::print;
use crate::outcome::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::{self, Write};

/// A result as it is read from its JSON; what is unknown in it is left to be printed as it came.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The device; absent where the job named none that could be read.
    pub device: Option<String>,
    /// The command; absent likewise.
    pub command: Option<String>,
    /// One of the statuses of the contract.
    pub status: String,
    /// `yes`, `no` or `unknown`.
    pub executed: String,
    /// What the device answered.
    pub response: Option<Box<RawValue>>,
    /// What went wrong.
    pub error: Option<Problem>,
    /// Whether another result of the same command came before it.
    #[serde(default)]
    pub late: bool,
    /// Who answers.
    #[serde(default)]
    pub worker: String,
    /// Where the time went.
    #[serde(default)]
    pub timing_ms: Timing,
}

/// What went wrong, by the result.
#[derive(Debug, Deserialize)]
pub struct Problem {
    /// A short name.
    pub code: String,
    /// In words.
    pub message: String,
}

/// Where the time went, in milliseconds.
#[derive(Debug, Default, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the contract")]
pub struct Timing {
    pub queued: f64,
    pub waiting: f64,
    pub device: f64,
    pub total: f64,
}

impl Answer {
    /// Reads the body of a result.
    ///
    /// # Errors
    ///
    /// It is no result of this program.
    pub fn read(body: &[u8]) -> anyhow::Result<Self> {
        serde_json::from_slice(body).map_err(|error| anyhow::anyhow!("a result that cannot be read came: {error}"))
    }

    /// Whether the command did what it was to do.
    pub fn succeeded(&self) -> bool {
        self.status == Status::Succeeded.as_str()
    }

    /// Device, status and reason in one line.
    pub fn in_short(&self) -> String {
        let device = self.device.as_deref().unwrap_or("(no device)");
        let mut line = format!("{}: {}", Plain(device), Plain(&self.status));
        if let Some(problem) = &self.error {
            // Writing to a string cannot fail.
            let _ = write!(line, " ({}: {})", Plain(&problem.code), Plain(&problem.message));
        }
        line
    }
}

/// For a person: what became of it, the response, the error, where the time went.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, command) = (self.device.as_deref(), self.command.as_deref());
        let executed = match self.executed.as_str() {
            "yes" => "",
            "no" => "; surely not executed",
            _ => "; nobody knows whether it was executed",
        };
        writeln!(
            f,
            "{} {}: {}{executed}",
            Plain(device.unwrap_or("(no device)")),
            Plain(command.unwrap_or("(no command)")),
            Plain(&self.status)
        )?;
        if let Some(response) = &self.response {
            writeln!(f, "{}", pretty(response.get()))?;
        }
        if let Some(problem) = &self.error {
            writeln!(f, "{}: {}", Plain(&problem.code), Plain(&problem.message))?;
        }
        let Timing { queued, waiting, device, total } = self.timing_ms;
        write!(
            f,
            "{queued:.1} ms queued, {waiting:.1} ms waiting, {device:.1} ms at the device, {total:.1} ms in all"
        )?;
        if !self.worker.is_empty() {
            write!(f, "; by {}", Plain(&self.worker))?;
        }
        Ok(())
    }
}

/// Prints one result and says whether it is a success.
///
/// # Errors
///
/// The body is no result; with `json` it has been printed all the same.
pub fn result(body: &[u8], json: bool) -> anyhow::Result<bool> {
    if json {
        print(one_line(body));
    }
    let answer = Answer::read(body)?;
    if !json {
        print(&answer);
    }
    Ok(answer.succeeded())
}

/// JSON as it came, in one line: a line break can only stand between its parts, where a space means the same.
pub fn one_line(json: &[u8]) -> String {
    String::from_utf8_lossy(json).trim().replace(['\n', '\r'], " ")
}

/// JSON indented for reading; numbers, names and their order stay as they were written.
pub fn pretty(json: &str) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        if in_string {
            // U+0080 to U+009F and DEL may stand in JSON as they are, and some terminals obey them.
            if c.is_control() {
                out.extend(c.escape_unicode())
            } else {
                out.push(c)
            }
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                new_line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_string = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Text of a device or broker, its control characters escaped: a terminal would obey them.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str = r#"{"id":"1","device":"garage-7","command":"open","status":"rejected","executed":"yes",
        "response":{"error":{"code":"busy","message":"no\u001b[2J"}},"error":{"code":"busy","message":"no\u001b[2J"},
        "attempt":1,"late":false,"redelivered":false,"worker":"w","timing_ms":{"queued":3.14,"waiting":0.0,"device":41.7,"total":45.2}}"#;

    #[test]
    fn a_person_reads_status_response_error_and_timing() {
        let answer = Answer::read(RESULT.as_bytes()).unwrap();
        let text = answer.to_string();
        assert!(!answer.succeeded() && text.starts_with("garage-7 open: rejected\n{\n  \"error\": {\n"), "{text}");
        assert!(text.contains("\nbusy: no\\u{1b}[2J\n3.1 ms queued, 0.0 ms waiting, 41.7 ms at the device"), "{text}");
        assert_eq!(answer.in_short(), "garage-7: rejected (busy: no\\u{1b}[2J)");
        assert!(!text.contains('\u{1b}'), "what a device writes must not reach the terminal's controls");
    }

    #[test]
    fn what_is_no_result_is_an_error() {
        for bad in ["", "[]", "{}", "nonsense"] {
            assert!(Answer::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn json_is_indented_without_being_changed() {
        let cases = [
            (r#"{"b":12345678901234567890123,"a":[]}"#, "{\n  \"b\": 12345678901234567890123,\n  \"a\": []\n}"),
            (r#"[1.10,{ },"a,{\":\\"]"#, "[\n  1.10,\n  {},\n  \"a,{\\\":\\\\\"\n]"),
            ("\"a b\"", "\"a b\""),
            ("\"\u{9b}2J\"", "\"\\u{9b}2J\""),
            (" 5 ", "5"),
        ];
        for (json, expected) in cases {
            assert_eq!(pretty(json), expected);
        }
        assert_eq!(one_line(b"{\"a\":\n [1,\r\n2]}\n"), "{\"a\":  [1,  2]}");
    }
}
