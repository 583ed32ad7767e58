//! The payloads of incoming frames, mended: names that are UTF-8, a bounded depth, headers that fit.

use super::properties::MAX_DEPTH;

/// The header, with the size in bytes, that stands for headers that were too large for a frame.
pub(super) const HEADERS_DROPPED: &str = "x-switchboard-headers-dropped";

/// A content header with the table of headers replaced by one that says how large it was.
pub(super) fn without_headers(payload: &mut [u8]) -> Option<Vec<u8>> {
    let mut walk = Walk { bytes: payload, at: 12 };
    let flags = u16::from_be_bytes(walk.take()?);
    for _ in [15, 14].iter().filter(|bit| flags & (1 << **bit) != 0) {
        walk.name()?;
    }
    let table = walk.at;
    if flags & (1 << 13) == 0 {
        return None;
    }
    walk.skip_counted()?;
    let dropped = (walk.at - table) as u64;
    let name = HEADERS_DROPPED.as_bytes();
    let said = [&[name.len() as u8][..], name, b"l", &dropped.to_be_bytes()].concat();
    Some([&walk.bytes[..table], &(said.len() as u32).to_be_bytes(), &said, &walk.bytes[walk.at..]].concat())
}

/// Mends the payload of a method frame or of a content header. One that cannot be read is left to lapin, and to its verdict.
pub(super) fn mend(kind: u8, payload: &mut [u8]) {
    let mut walk = Walk { bytes: payload, at: 0 };
    let _ = if kind == 2 { walk.content_header() } else { walk.method() };
}

/// A way through the fields of a payload; `None` is the end of it.
struct Walk<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Walk<'_> {
    /// AMQP 0-9-1, 4.2.6.1 and the properties of class `basic` in the order of their flags.
    fn content_header(&mut self) -> Option<()> {
        self.skip(12)?;
        let flags = u16::from_be_bytes(self.take()?);
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            match bit {
                13 => self.table(0)?,
                12 | 11 => self.skip(1)?,
                6 => self.skip(8)?,
                _ => self.name()?,
            }
        }
        Some(())
    }

    /// Of the methods that carry a producer's words: `basic.deliver` and `basic.return`.
    fn method(&mut self) -> Option<()> {
        match self.take::<4>()? {
            [0, 60, 0, 60] => {
                self.name()?;
                self.skip(9)?;
            }
            [0, 60, 0, 50] => {
                self.skip(2)?;
                self.name()?;
            }
            _ => return None,
        }
        self.name()?;
        self.name()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let found = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(found)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn skip_counted(&mut self) -> Option<()> {
        let length = u32::from_be_bytes(self.take()?);
        self.skip(length as usize)
    }

    /// A text with a length octet.
    fn name(&mut self) -> Option<()> {
        let [length] = self.take()?;
        let start = self.at;
        self.skip(length.into())?;
        make_utf8(&mut self.bytes[start..self.at]);
        Some(())
    }

    fn table(&mut self, depth: usize) -> Option<()> {
        let end = u32::from_be_bytes(self.take()?) as usize + self.at;
        while self.at < end {
            self.name()?;
            self.value(depth)?;
        }
        Some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let kind_at = self.at;
        match self.take()? {
            [b'A' | b'F'] if depth >= MAX_DEPTH => {
                self.bytes[kind_at] = b'x';
                self.skip_counted()
            }
            [b'F'] => self.table(depth + 1),
            [b'A'] => {
                let end = u32::from_be_bytes(self.take()?) as usize + self.at;
                while self.at < end {
                    self.value(depth + 1)?;
                }
                Some(())
            }
            [b'S' | b'x'] => self.skip_counted(),
            [b't' | b'b' | b'B'] => self.skip(1),
            [b's' | b'U' | b'u'] => self.skip(2),
            [b'I' | b'i' | b'f'] => self.skip(4),
            [b'D'] => self.skip(5),
            [b'L' | b'l' | b'd' | b'T'] => self.skip(8),
            [b'V'] => Some(()),
            _ => None,
        }
    }
}

fn make_utf8(mut text: &mut [u8]) {
    while let Err(error) = std::str::from_utf8(text) {
        let stray = error.valid_up_to();
        let end = error.error_len().map_or(text.len(), |length| stray + length);
        text[stray..end].fill(b'?');
        text = &mut text[end..];
    }
}
