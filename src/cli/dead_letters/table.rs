//! The list of dead letters: a table that a terminal of 100 columns can show.

use super::letter::Letter;
use crate::cli::report::Plain;
use jiff::Timestamp;

/// Columns of the terminal that it is made for.
const WIDTH: usize = 100;
/// Between two columns.
const GAP: &str = "  ";
/// How narrow a column may become, in the order of [`row`]; an id must stay whole to be of use, and a time too.
const NARROWEST: [usize; 7] = [usize::MAX, 8, usize::MAX, 6, 5, 5, 8];

/// The letters, one a line under a heading.
pub fn table<'a>(letters: impl IntoIterator<Item = &'a Letter>) -> String {
    let heading = ["id", "reason", "when (UTC)", "queue", "device", "command", "detail"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(heading).chain(letters.into_iter().map(row)).collect();
    let widths = widths(&rows);
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| fitted(cell, width)).collect();
        cells.join(GAP).trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn row(letter: &Letter) -> [String; 7] {
    let cause = &letter.cause;
    let text = |text: Option<&str>| match text {
        None | Some("") => "-".to_owned(),
        Some(text) => Plain(text).to_string(),
    };
    [
        letter.id.clone(),
        text(Some(&cause.reason)),
        cause.at.map_or_else(|| "-".to_owned(), |at| time(at, "%Y-%m-%d %H:%M")),
        text(cause.queue.as_deref()),
        text(letter.device.as_deref()),
        text(letter.command.as_deref()),
        text(Some(&cause.detail)),
    ]
}

/// A wall-clock instant in UTC, in that form.
pub fn time(unix_ms: u64, form: &str) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX).strftime(form).to_string()
}

/// As wide as what stands in them; where that is too much, the widest give way.
fn widths(rows: &[[String; 7]]) -> [usize; 7] {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let room = WIDTH - 6 * GAP.len();
    while widths.iter().sum::<usize>() > room {
        let yielding = (0..7).filter(|column| widths[*column] > NARROWEST[*column]);
        match yielding.max_by_key(|column| widths[*column]) {
            Some(column) => widths[column] -= 1,
            None => break,
        }
    }
    widths
}

fn fitted(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return format!("{cell:width$}");
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Envelope;
    use crate::wire::dead_letter::{Cause, marked};

    fn letter(id: &str, device: &str, detail: &str) -> Letter {
        let cause = Cause {
            reason: "invalid".to_owned(),
            detail: detail.to_owned(),
            queue: Some("switchboard.commands".to_owned()),
            at: Some(1_700_000_000_123),
            ..Cause::default()
        };
        let body = serde_json::json!({"device": device, "command": "open"}).to_string().into();
        Letter::read(marked(&Envelope { message_id: Some(id.to_owned()), body, ..Envelope::default() }, &cause))
    }

    #[test]
    fn it_stays_within_its_width_and_leaves_ids_whole() {
        let long = "a detail that says at great length what is wrong with the job and what would be right";
        let uuid = "5f1c6a2e-3b7e-4c55-9d3f-0a1b2c3d4e5f";
        let letters = [letter("01J8ZQ4T7W3B", "garage-7", "short"), letter(uuid, &"d".repeat(200), long)];
        let table = table(&letters);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("id   ") && lines[0].contains("  reason   when (UTC)        queue "), "{table}");
        assert!(lines[2].starts_with(uuid) && lines[2].contains("2023-11-14 22:13"), "{table}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{table}");
        let one = super::table([&letter("a", "garage-7", "short")]);
        assert!(
            one.ends_with("a   invalid  2023-11-14 22:13  switchboard.commands  garage-7  open     short"),
            "{one}"
        );
        assert!(lines[2].contains('…') && lines[1].contains("short"), "{table}");
    }

    #[test]
    fn what_is_absent_is_a_dash_and_controls_are_shown() {
        let bare = Letter::read(Envelope { message_id: Some("bare".to_owned()), ..Envelope::default() });
        let text = table([&bare]);
        assert!(text.lines().nth(1).is_some_and(|line| line.matches(" -").count() == 6), "{text}");
        assert!(table([&letter("a", "d\u{1b}[2J", "x")]).contains("d\\u{1b}[2J"));
    }
}
