//! The devices of a bulk as people list them: one by one, and in a file of ids or JSON lines.

use crate::excerpt::Excerpt;
use crate::job::{Payload, Target};
use crate::wire::native::{Limits, Places};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// The longest line of a file of devices: a payload as large as a worker takes by default, and its device.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// The devices of one bulk, each once.
#[derive(Debug)]
pub struct Targets {
    /// In the order in which they were first named.
    pub targets: Vec<Target>,
    /// How often a device was named once more.
    pub repeated: usize,
    places: Places,
    limits: Limits,
}

/// What is wrong with a list of devices: where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongTargets(pub String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    device: String,
    payload: Option<Box<RawValue>>,
}

impl Targets {
    /// None yet; there may be as many, with payloads as long, as the limits say.
    pub fn new(limits: Limits) -> Self {
        Self { targets: Vec::new(), repeated: 0, places: Places::default(), limits }
    }

    /// Those of a file. Blocks as long as reading it takes.
    ///
    /// # Errors
    ///
    /// The file cannot be read, names no device, or has something wrong in a line.
    pub fn of_file(path: &Path, limits: Limits) -> Result<Self, WrongTargets> {
        let mut targets = Self::new(limits);
        targets.add_file(path)?;
        match targets.targets.is_empty() {
            true => Err(WrongTargets(format!("{}: it names no device; right is one a line", path.display()))),
            false => Ok(targets),
        }
    }

    /// Adds those of a file, which may be none.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has something wrong in a line.
    pub fn add_file(&mut self, path: &Path) -> Result<(), WrongTargets> {
        let from = path.display().to_string();
        let file = File::open(path).map_err(|error| WrongTargets(format!("{from}: cannot be read: {error}")))?;
        self.add_lines(&from, BufReader::new(file))
    }

    /// Adds a device without a payload of its own.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence.
    pub fn add_device(&mut self, device: &str) -> Result<(), String> {
        self.add(Target { device: device.into(), payload: None })
    }

    /// Adds those of a text with one a line; `from` is what messages call it.
    ///
    /// # Errors
    ///
    /// What is wrong, in which line, and what would be right.
    pub fn add_lines(&mut self, from: &str, mut lines: impl BufRead) -> Result<(), WrongTargets> {
        let mut line = Vec::new();
        for number in 1.. {
            let wrong = |problem: String| WrongTargets(format!("{from}, line {number}: {problem}"));
            line.clear();
            let read = lines.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            if read.map_err(|error| wrong(format!("cannot be read: {error}")))? == 0 {
                return Ok(());
            }
            if line.len() as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
                return Err(wrong(format!("is longer than {MAX_LINE_BYTES} bytes")));
            }
            let text = std::str::from_utf8(&line).map_err(|_| wrong("is no UTF-8 text".to_owned()))?.trim();
            // Some editors begin a file with a mark that nobody sees.
            let text = text.trim_start_matches('\u{feff}');
            if !text.is_empty() {
                target(text).and_then(|target| self.add(target)).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, target: Target) -> Result<(), String> {
        if target.device.is_empty() {
            return Err("the device's id is empty; an id is right".to_owned());
        }
        if let Some(Payload::Json(text)) = &target.payload
            && text.len() > self.limits.max_payload_bytes
        {
            let (bytes, most) = (text.len(), self.limits.max_payload_bytes);
            return Err(format!("the payload has {bytes} bytes; at most {most} (worker.max_payload_bytes) are right"));
        }
        match self.places.put(&mut self.targets, target) {
            Ok(false) => self.repeated += 1,
            Ok(true) if self.targets.len() > self.limits.max_devices => {
                return Err(format!(
                    "one bulk takes {} devices (worker.max_devices); right is several bulks",
                    self.limits.max_devices
                ));
            }
            Ok(true) => {}
            Err(place) => {
                let device = Excerpt(&self.targets[place].device);
                let first = place + 1;
                return Err(format!(
                    "the device {device} is named before, as number {first}, with another payload; once is right"
                ));
            }
        }
        Ok(())
    }
}

/// An id, or `{"device": …, "payload": …}`.
fn target(text: &str) -> Result<Target, String> {
    if !text.starts_with('{') {
        return Ok(Target { device: text.into(), payload: None });
    }
    let line: Line = serde_json::from_str(text).map_err(|error| {
        // Its line is counted within this one, and ours is named already.
        let error = error.to_string();
        let error = error.split(" at line ").next().unwrap_or_default();
        format!("{error}; right is a device's id, or {{\"device\": \"garage-7\", \"payload\": {{}}}}")
    })?;
    let payload = line.payload.map(|payload| Payload::Json(payload.get().to_owned().into()));
    Ok(Target { device: line.device.into(), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_payload_bytes: 20, max_devices: 1000, no_devices: false, repeats: false };

    fn read(lines: &str) -> Result<Targets, String> {
        let mut targets = Targets::new(LIMITS);
        targets.add_lines("devices.txt", lines.as_bytes()).map_err(|error| error.to_string())?;
        Ok(targets)
    }

    #[test]
    fn ids_and_json_lines_with_blank_ones_between() {
        let read = read("\u{feff}a\r\n\n  b \n{\"device\": \"c\", \"payload\": {\"n\": 1.10}}\n{\"device\":\"d\"}\na")
            .unwrap();
        let payload = Some(Payload::Json("{\"n\": 1.10}".into()));
        let expected = [("a", None), ("b", None), ("c", payload), ("d", None)];
        let found: Vec<_> = read.targets.iter().map(|target| (&*target.device, target.payload.clone())).collect();
        assert_eq!(found, expected);
        assert_eq!(read.repeated, 1);
    }

    #[test]
    fn what_is_wrong_names_its_line_and_what_would_be_right() {
        for (lines, says) in [
            ("a\n\n{\"devise\": \"b\"}", "devices.txt, line 3: unknown field `devise`"),
            ("{\"device\": 5}", "devices.txt, line 1: invalid type"),
            ("{", "devices.txt, line 1: EOF"),
            ("a\n{\"device\":\"a\",\"payload\":1}", "line 2: the device \"a\" is named before, as number 1"),
            ("{\"device\":\"\"}", "line 1: the device's id is empty"),
            (
                "{\"device\":\"a\",\"payload\":\"a text that is too long\"}",
                "line 1: the payload has 25 bytes; at most 20",
            ),
        ] {
            let error = read(lines).unwrap_err();
            assert!(error.contains(says) && error.contains("right"), "{error}");
        }
        let mut targets = Targets::new(LIMITS);
        assert!(targets.add_lines("f", &b"a\n\xff\n"[..]).unwrap_err().to_string().contains("f, line 2: is no UTF-8"));
        let many: String = (0..=1000).map(|index| format!("{index}\n")).collect();
        assert!(read(&many).unwrap_err().contains("line 1001: one bulk takes 1000"));
    }

    #[test]
    fn a_file_without_devices_and_one_that_is_not_there_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "b\na\n").unwrap();
        assert_eq!(Targets::of_file(file.path(), LIMITS).unwrap().targets.len(), 2);
        std::fs::write(file.path(), "\n").unwrap();
        for path in [file.path(), Path::new("/nowhere/x")] {
            let error = Targets::of_file(path, LIMITS).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
    }
}
