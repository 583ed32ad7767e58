//! What stands between the socket and lapin: a producer's message may not be able to end the connection, or the process.
//!
//! RabbitMQ hands on what lapin's parser cannot take. Tables nested some thousand levels deep fit into one frame and overflow
//! the stack of lapin's thread, which aborts the process; a property or header name that is not UTF-8 is a parse error, which
//! ends the connection. Either comes again with the redelivery. So both are mended here, in place, length kept: a list or table
//! beyond [`MAX_DEPTH`](super::properties::MAX_DEPTH) becomes a byte array, and each stray byte of a name a question mark.
//!
//! A third thing ends the connection: where the URL asks for smaller frames (`frame_max`), a producer with larger ones may
//! send headers that fit its frames and not ours, and the broker does not cut them. They are left out, and
//! [`HEADERS_DROPPED`](super::mend::HEADERS_DROPPED) says so.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};

use super::mend::{mend, without_headers};

/// Bytes read at a time.
const CHUNK: usize = 32 * 1024;
/// Frames of methods and properties up to this size are looked into: eight times what RabbitMQ sends unless told otherwise.
const LARGEST: usize = 1024 * 1024;
/// Type octet, channel and size come before the payload of a frame.
const PREFIX: usize = 7;
/// And one octet after it.
const FRAMING: usize = PREFIX + 1;

/// A stream whose incoming frames are mended.
pub(super) struct Screened<S> {
    inner: S,
    mended: Mended,
}

/// Bytes on their way: `..taken` handed over, `..ready` mended, `..filled` received.
struct Mended {
    bytes: Vec<u8>,
    taken: usize,
    ready: usize,
    filled: usize,
    /// What is left of a frame that passes without a look.
    passing: usize,
    /// The largest frame that lapin takes, all its octets counted.
    frame_max: usize,
    /// The peer does not speak AMQP frames; lapin shall say so.
    foreign: bool,
}

impl<S> Screened<S> {
    /// `frame_max` is what lapin asks of the broker; 0 is no bound.
    pub(super) fn new(inner: S, frame_max: u32) -> Self {
        let frame_max = if frame_max == 0 { usize::MAX } else { frame_max as usize };
        let bytes = vec![0; CHUNK];
        Self { inner, mended: Mended { bytes, taken: 0, ready: 0, filled: 0, passing: 0, frame_max, foreign: false } }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Screened<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
        let Self { inner, mended } = self.get_mut();
        loop {
            if let Some(count) = mended.hand_over(to) {
                return Poll::Ready(Ok(count));
            }
            match Pin::new(&mut *inner).poll_read(context, mended.room()) {
                Poll::Ready(Ok(0)) if mended.filled == 0 => return Poll::Ready(Ok(0)),
                // The end, in the middle of a frame.
                Poll::Ready(Ok(0)) => mended.ready = mended.filled,
                Poll::Ready(Ok(count)) => mended.received(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Screened<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_close(context)
    }
}

impl Mended {
    fn hand_over(&mut self, to: &mut [u8]) -> Option<usize> {
        let count = to.len().min(self.ready - self.taken);
        to[..count].copy_from_slice(&self.bytes[self.taken..self.taken + count]);
        self.taken += count;
        (count > 0 || to.is_empty()).then_some(count)
    }

    /// Where to receive: after what waits for the rest of its frame, which moves to the front.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.ready..self.filled, 0);
        self.filled -= self.ready;
        (self.taken, self.ready) = (0, 0);
        if self.filled == self.bytes.len() {
            self.bytes.resize(self.filled + CHUNK, 0);
        }
        &mut self.bytes[self.filled..]
    }

    fn received(&mut self, count: usize) {
        self.filled += count;
        while self.ready < self.filled {
            let waiting = self.filled - self.ready;
            if self.foreign || self.passing > 0 {
                let count = if self.foreign { waiting } else { waiting.min(self.passing) };
                self.passing -= count.min(self.passing);
                self.ready += count;
                continue;
            }
            let Some(&[kind, _, _, a, b, c, d]) = self.bytes[self.ready..self.filled].first_chunk::<PREFIX>() else {
                return;
            };
            let payload = u32::from_be_bytes([a, b, c, d]) as usize;
            match kind {
                1 | 2 if payload <= LARGEST => {
                    if waiting < payload + FRAMING {
                        return;
                    }
                    let start = self.ready + PREFIX;
                    mend(kind, &mut self.bytes[start..start + payload]);
                    self.ready += payload + FRAMING;
                    if kind == 2 && payload + FRAMING > self.frame_max {
                        self.drop_headers(start, payload);
                    }
                }
                1 | 2 | 3 | 8 => self.passing = payload + FRAMING,
                _ => self.foreign = true,
            }
        }
    }
}

impl Mended {
    /// Shortens the content header whose payload begins at `start`.
    fn drop_headers(&mut self, start: usize, payload: usize) {
        let Some(shorter) = without_headers(&mut self.bytes[start..start + payload]) else { return };
        self.bytes[start - 4..start].copy_from_slice(&(shorter.len() as u32).to_be_bytes());
        let saved = payload.saturating_sub(shorter.len());
        self.bytes.splice(start..start + payload, shorter);
        self.ready -= saved;
        self.filled -= saved;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::io::{AsyncReadExt, Cursor};
    use proptest::prelude::*;

    use super::super::mend::HEADERS_DROPPED;
    use super::super::properties::MAX_DEPTH;
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&[kind, 0, 1][..], &length[..], payload, &[0xce]].concat()
    }

    fn counted(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
    }

    fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
        let fixed = [&[0, 60, 0, 0][..], &7u64.to_be_bytes(), &flags.to_be_bytes()].concat();
        frame(2, &[&fixed[..], properties].concat())
    }

    fn nested(levels: usize) -> Vec<u8> {
        let value = (0..levels).fold(b"V".to_vec(), |inner, _| [&b"A"[..], &counted(&inner)].concat());
        header(1 << 13, &counted(&[&b"\x01h"[..], &value].concat()))
    }

    /// Everything that comes out, read in pieces of this size.
    fn through(bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut screened = Screened::new(Pieces(Cursor::new(bytes.to_vec()), piece), 0);
        let mut out = Vec::new();
        futures_executor(screened.read_to_end(&mut out)).unwrap();
        out
    }

    fn futures_executor<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    struct Pieces(Cursor<Vec<u8>>, usize);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut [u8]) -> Poll<io::Result<usize>> {
            let length = to.len().min(self.1);
            Pin::new(&mut self.0).poll_read(cx, &mut to[..length])
        }
    }

    #[test]
    fn a_nest_keeps_its_length_and_its_first_levels() {
        assert_eq!(through(&nested(MAX_DEPTH), 1000), nested(MAX_DEPTH), "what is allowed passes as it is");
        for levels in [MAX_DEPTH + 1, 26_000] {
            let (sent, mended) = (nested(levels), through(&nested(levels), 1000));
            assert_eq!(mended.len(), sent.len());
            let changed: Vec<_> = (0..sent.len()).filter(|at| sent[*at] != mended[*at]).collect();
            assert_eq!(changed.len(), 1);
            assert_eq!((sent[changed[0]], mended[changed[0]]), (b'A', b'x'));
        }
    }

    #[test]
    fn stray_bytes_of_names_become_question_marks_and_nothing_else_does() {
        let correlation = |id: &[u8]| header(1 << 10, &[&[id.len() as u8][..], id].concat());
        assert_eq!(through(&correlation(b"a\xff\xfeb\xc3"), 9), correlation(b"a??b?"));
        assert_eq!(through(&correlation("Größe".as_bytes()), 9), correlation("Größe".as_bytes()));
        let table =
            |name: &[u8]| header(1 << 13, &counted(&[&[name.len() as u8][..], name, b"S", &counted(b"\xff")].concat()));
        assert_eq!(through(&table(b"\xff"), 1000), table(b"?"), "a value may be anything");
        let deliver =
            |key: &[u8]| frame(1, &[&[0, 60, 0, 60, 1, b't'][..], &[0; 9], &[0, key.len() as u8], key].concat());
        assert_eq!(through(&deliver(b"k\x80"), 1000), deliver(b"k?"));
    }

    #[test]
    fn headers_too_large_for_a_frame_are_left_out_and_the_rest_is_kept() {
        let large = counted(&[&b"\x01h"[..], b"S", &counted(&[b'v'; 5000])].concat());
        let sent = |table: &[u8]| header(0b1110_0100 << 8, &[b"\x04json\x04utf8", table, b"\x02id"].concat());
        let size = (large.len() as u64).to_be_bytes();
        let said = [&[29][..], HEADERS_DROPPED.as_bytes(), b"l", &size].concat();
        let bytes = [sent(&large), frame(3, b"body"), sent(&counted(b""))].concat();
        let mut screened = Screened::new(Pieces(Cursor::new(bytes), 700), 4096);
        let mut out = Vec::new();
        futures_executor(screened.read_to_end(&mut out)).unwrap();
        assert_eq!(out, [sent(&counted(&said)), frame(3, b"body"), sent(&counted(b""))].concat());
    }

    #[test]
    fn bodies_foreign_speech_and_half_frames_pass_as_they_are() {
        let body = frame(3, &[0xff; 100_000]);
        assert_eq!(through(&body, 70_000), body);
        let foreign = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        assert_eq!(through(foreign, 5), foreign);
        assert_eq!(through(&nested(10)[..40], 1000), nested(10)[..40]);
    }

    proptest! {
        #[test]
        fn any_bytes_come_out_as_many_and_however_they_are_cut(
            payloads in prop::collection::vec((1..4u8, prop::collection::vec(any::<u8>(), 0..80)), 0..12),
            pieces in (1..300usize, 1..300usize),
        ) {
            let sent: Vec<u8> = payloads.iter().flat_map(|(kind, payload)| frame(*kind, payload)).collect();
            let mended = through(&sent, pieces.0);
            prop_assert_eq!(mended.len(), sent.len());
            prop_assert_eq!(&mended, &through(&sent, pieces.1));
            prop_assert_eq!(&mended, &through(&mended, 64), "mended once is mended");
        }
    }
}
