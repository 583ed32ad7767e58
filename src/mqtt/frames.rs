//! A byte stream cut into MQTT packets, with an account of which bytes have left.

use super::transport::Stream;
use bytes::{Buf, BytesMut};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWrite};

/// Once this much waits for the socket, publishes wait where their deadlines still count.
const OUTPUT_FULL: usize = 64 * 1024;
const READ_SIZE: usize = 16 * 1024;
/// PUBLISH, in the upper half of a packet's first byte (MQTT 5.0, section 2.1.2).
const PUBLISH: u8 = 3;

pub(crate) struct Frames {
    stream: Box<dyn Stream>,
    max_incoming: usize,
    input: BytesMut,
    output: BytesMut,
    /// Bytes put into `output` since the connection began.
    put: u64,
    /// Bytes of a message over the limit that are still to come.
    skip: usize,
    /// Why nothing can be written any more.
    broken: Option<io::Error>,
}

/// What one turn of I/O did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) read: usize,
    pub(crate) wrote: usize,
}

/// One packet as it came.
#[derive(Debug)]
pub(crate) enum Frame {
    Packet(BytesMut),
    /// A message over the limit, of which only the beginning was kept.
    Oversized {
        pkid: u16,
        size: usize,
    },
}

impl Frames {
    pub(crate) fn new(stream: Box<dyn Stream>, max_incoming: usize) -> Self {
        let (input, output) = (BytesMut::with_capacity(READ_SIZE), BytesMut::with_capacity(READ_SIZE));
        Self { stream, max_incoming, input, output, put: 0, skip: 0, broken: None }
    }

    /// Bytes that the socket has taken since the connection began.
    pub(crate) fn written(&self) -> u64 {
        self.put - self.output.len() as u64
    }

    /// Bytes put in since the connection began.
    pub(crate) fn position(&self) -> u64 {
        self.put
    }

    pub(crate) fn is_full(&self) -> bool {
        self.output.len() >= OUTPUT_FULL
    }

    /// Adds what `write` writes; if it fails, nothing, or half a packet would make nonsense of all that follows.
    pub(crate) fn put<T, E>(&mut self, write: impl FnOnce(&mut BytesMut) -> Result<T, E>) {
        let before = self.output.len();
        if write(&mut self.output).is_err() {
            self.output.truncate(before);
        }
        self.put += (self.output.len() - before) as u64;
    }

    /// Writes and reads what it can; returns as soon as either did something. Cancel-safe: all progress is kept in `self`.
    pub(crate) async fn turn(&mut self) -> io::Result<Turn> {
        poll_fn(|cx| self.poll_turn(cx)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        let mut turn = Turn::default();
        if self.broken.is_none() {
            self.broken = self.poll_send(cx, &mut turn.wrote).err();
        }
        if self.input.capacity() - self.input.len() < READ_SIZE / 4 {
            self.input.reserve(READ_SIZE);
        }
        // After a failed write too: a broker says why it closes, and which publishes it took, before it does.
        let ended = match Future::poll(pin!(self.stream.read_buf(&mut self.input)), cx) {
            Poll::Ready(Ok(0)) => {
                Some(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection"))
            }
            Poll::Ready(Ok(n)) => {
                turn.read = n;
                None
            }
            Poll::Ready(Err(error)) => Some(error),
            Poll::Pending => self.broken.take(),
        };
        match ended {
            Some(error) => Poll::Ready(Err(error)),
            None if turn.read + turn.wrote > 0 => Poll::Ready(Ok(turn)),
            None => Poll::Pending,
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, wrote: &mut usize) -> io::Result<()> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.output) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    self.output.advance(n);
                    *wrote += n;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        // TLS and WebSocket streams buffer: what was written has to be pushed through.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Throws away what has been read.
    pub(crate) fn discard_input(&mut self) {
        self.input.clear();
    }

    /// The next packet that has come whole, or the beginning of one that is too large; `None` until more is read.
    pub(crate) fn next(&mut self) -> io::Result<Option<Frame>> {
        let drop_now = self.skip.min(self.input.len());
        self.input.advance(drop_now);
        self.skip -= drop_now;
        let Some((header, body)) = lengths(&self.input)? else { return Ok(None) };
        if body > self.max_incoming {
            if self.input[0] >> 4 != PUBLISH {
                return Err(broken(format!("a packet of {body} bytes that is no message")));
            }
            let Some(pkid) = publish_pkid(self.input[0], &self.input[header..], body)? else { return Ok(None) };
            self.skip = header + body;
            return Ok(Some(Frame::Oversized { pkid, size: body }));
        }
        if self.input.len() < header + body {
            self.input.reserve(header + body - self.input.len());
            return Ok(None);
        }
        Ok(Some(Frame::Packet(self.input.split_to(header + body))))
    }
}

pub(crate) fn broken(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker sent {what}"))
}

/// Lengths of the fixed header and of what follows it (MQTT 5.0, section 2.1.4); `None` until the header is whole.
fn lengths(input: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut body = 0;
    for index in 0..4 {
        let Some(byte) = input.get(1 + index) else { return Ok(None) };
        body |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((2 + index, body)));
        }
    }
    Err(broken("a packet length of more than four bytes"))
}

/// The packet id of a PUBLISH of which only the beginning is there; 0 for QoS 0, `None` until it has come.
fn publish_pkid(first: u8, body: &[u8], body_length: usize) -> io::Result<Option<u16>> {
    if first & 0b110 == 0 {
        return Ok(Some(0));
    }
    let number = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let Some(topic) = number(0) else { return Ok(None) };
    let at = 2 + usize::from(topic);
    if at + 2 > body_length {
        return Err(broken("a message whose topic is longer than itself"));
    }
    Ok(number(at))
}
