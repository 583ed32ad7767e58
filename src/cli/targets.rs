//! The devices of a bulk as the command line gives them: options, a file, standard input.

use super::BadUsage;
use crate::bulk::{Targets, WrongTargets};
use crate::wire::native::Limits;
use std::io;
use std::path::Path;

/// Reads the options first, then the file, where `-` is standard input.
///
/// # Errors
///
/// What is wrong, in which line, and what would be right.
pub fn read(devices: &[String], file: Option<&Path>, limits: Limits) -> Result<Targets, BadUsage> {
    let mut targets = Targets::new(limits);
    for device in devices {
        targets.add_device(device).map_err(|problem| BadUsage(format!("--device {device}: {problem}")))?;
    }
    let wrong = |WrongTargets(problem)| BadUsage(format!("--devices: {problem}"));
    match file {
        Some(path) if path == Path::new("-") => {
            targets.add_lines("standard input", io::stdin().lock()).map_err(wrong)?
        }
        Some(path) => targets.add_file(path).map_err(wrong)?,
        None => {}
    }
    match targets.targets.is_empty() {
        true => Err(BadUsage("--devices: it names no device; right is one a line".to_owned())),
        false => Ok(targets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_a_file_add_up_and_nothing_is_an_error() {
        let limits = Limits { max_payload_bytes: 100, max_devices: 2, no_devices: false, repeats: false };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "b\na\n").unwrap();
        let found = read(&["a".to_owned()], Some(file.path()), limits).unwrap();
        assert_eq!((found.targets.len(), found.repeated), (2, 1));
        std::fs::write(file.path(), "\n").unwrap();
        for (devices, path) in [(&[][..], file.path()), (&[String::new()], file.path()), (&[], Path::new("/nowhere/x"))]
        {
            assert!(read(devices, Some(path), limits).unwrap_err().to_string().contains("--device"));
        }
    }
}
