//! Tests of the bytes on the wire: packets cut anywhere, packets that lie, and the account of what has left.

use super::fate::Notify;
use super::link::Link;
use super::message::{Message, Properties, Qos};
use super::options::{Options, Protocol};
use super::packet::{Incoming, Outgoing};
use super::publication::{Class, Publication};
use crate::topic::TopicName;
use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// A socket from a script: what comes, in pieces, and how much it takes.
#[derive(Clone, Default)]
struct Tape(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    incoming: VecDeque<Vec<u8>>,
    taken: Vec<u8>,
    takes: usize,
    write_fails: bool,
}

impl AsyncRead for Tape {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut script = self.0.lock().unwrap();
        let Some(mut piece) = script.incoming.pop_front() else { return Poll::Pending };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        if !rest.is_empty() {
            script.incoming.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tape {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut script = self.0.lock().unwrap();
        if script.write_fails {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let n = bytes.len().min(script.takes);
        if n == 0 {
            return Poll::Pending;
        }
        script.takes -= n;
        script.taken.extend_from_slice(&bytes[..n]);
        Poll::Ready(Ok(n))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

const BOTH: [Protocol; 2] = [Protocol::V5, Protocol::V311];

fn link(protocol: Protocol) -> (Link, Tape) {
    let mut options = Options::new("mqtt://broker").unwrap();
    (options.protocol, options.max_incoming) = (protocol, 2000);
    let tape = Tape::default();
    (Link::new(Box::new(tape.clone()), &options), tape)
}

/// Everything that a broker's bytes mean, given to the link in these pieces.
fn read(protocol: Protocol, pieces: Vec<Vec<u8>>) -> io::Result<Vec<Incoming>> {
    let (mut link, tape) = link(protocol);
    tape.0.lock().unwrap().incoming = pieces.into();
    let mut packets = Vec::new();
    while let Some(turn) = link.turn().now_or_never() {
        turn?;
        while let Some(packet) = link.decode()? {
            packets.push(packet);
        }
    }
    Ok(packets)
}

/// A packet of this first byte and body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = length > 0x7F;
        bytes.push((length & 0x7F) as u8 | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn message(topic: &str, pkid: Option<u16>, properties: Option<&[u8]>, payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend(pkid.into_iter().flat_map(u16::to_be_bytes));
    if let Some(properties) = properties {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(if pkid.is_some() { 0x32 } else { 0x30 }, &body)
}

/// One packet of each kind that a broker sends.
fn conversation(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::V5 => vec![
            // Session present, receive maximum 20, server keep-alive 0, no retained messages.
            packet(0x20, &[1, 0, 8, 33, 0, 20, 19, 0, 0, 37, 0]),
            message("a/b", None, Some(&[]), b"zero"),
            // Subscription identifier 300, correlation "c", an alias nobody asked for is left out.
            message("a/é", Some(7), Some(&[11, 0xAC, 2, 9, 0, 1, b'c']), b""),
            packet(0x40, &[0, 9]),
            packet(0x40, &[0, 9, 0x10]),
            packet(0x40, &[0, 9, 0x97, 0]),
            packet(0x90, &[0, 3, 0, 1, 0x87]),
            packet(0xB0, &[0, 4, 0, 0, 0x11]),
            packet(0xD0, &[]),
            packet(0xE0, &[0x8E]),
            packet(0xE0, &[]),
            packet(0xE0, &[0x8B, 5, 31, 0, 2, b'o', b'k']),
        ],
        Protocol::V311 => vec![
            packet(0x20, &[1, 0]),
            message("a/b", None, None, b"zero"),
            message("a/é", Some(7), None, b""),
            packet(0x40, &[0, 9]),
            packet(0x90, &[0, 3, 1, 0x80]),
            packet(0xB0, &[0, 4]),
            packet(0xD0, &[]),
        ],
    }
}

#[test]
fn packets_mean_the_same_however_they_are_cut() {
    for protocol in BOTH {
        let whole = conversation(protocol).concat();
        let expected = read(protocol, vec![whole.clone()]).unwrap();
        assert_eq!(expected.len(), conversation(protocol).len());
        assert_eq!(read(protocol, whole.chunks(1).map(<[u8]>::to_vec).collect()).unwrap(), expected);
        assert_eq!(read(protocol, whole.chunks(3).map(<[u8]>::to_vec).collect()).unwrap(), expected);
    }
}

#[test]
fn each_packet_of_mqtt_5_is_understood() {
    let packets = read(Protocol::V5, vec![conversation(Protocol::V5).concat()]).unwrap();
    let Incoming::Accepted(accepted) = &packets[0] else { panic!("{packets:?}") };
    assert_eq!((accepted.receive_maximum, accepted.keep_alive, accepted.retain), (20, Some(0), false));
    assert!(accepted.session_present && accepted.subscription_ids);
    let properties = Properties { correlation: Some(Bytes::from_static(b"c")), ..Properties::default() };
    let expected = Message::new("a/é".into(), "".into(), Qos::AtLeastOnce, false, Some(Box::new(properties))).unwrap();
    let message = Incoming::Publish { message: expected, pkid: 7, dup: false, subscription_ids: vec![300] };
    assert_eq!(packets[2], message);
    let codes: Vec<_> =
        packets.iter().filter_map(|p| if let Incoming::PubAck { code, .. } = p { Some(*code) } else { None }).collect();
    assert_eq!(codes, [0, 0x10, 0x97]);
    let Incoming::SubAck { pkid: 3, grants } = &packets[6] else { panic!("{packets:?}") };
    assert!(matches!(&grants[..], [Ok(Qos::AtLeastOnce), Err((0x87, _))]));
    let reasons: Vec<_> =
        packets[9..].iter().map(|p| if let Incoming::Disconnect { code, .. } = p { *code } else { 1 }).collect();
    assert_eq!(reasons, [0x8E, 0, 0x8B], "a reason without properties, none, and one with words");
}

#[test]
fn a_refused_connection_says_why_even_in_the_wrong_version() {
    let reason = |protocol, body: &[u8]| match read(protocol, vec![packet(0x20, body)]).unwrap().remove(0) {
        Incoming::Rejected { reason, .. } => reason,
        other => panic!("{other:?}"),
    };
    assert!(reason(Protocol::V311, &[0, 5]).contains("NotAuthorized"));
    assert!(reason(Protocol::V5, &[0, 0x87, 5, 31, 0, 2, b'n', b'o']).contains("no"));
    assert!(reason(Protocol::V5, &[0, 1]).contains("may not speak MQTT 5"));
}

#[test]
fn limits_of_zero_are_none() {
    let connack = packet(0x20, &[0, 0, 8, 33, 0, 0, 39, 0, 0, 0, 0]);
    let Incoming::Accepted(accepted) = read(Protocol::V5, vec![connack]).unwrap().remove(0) else { panic!() };
    assert!(accepted.receive_maximum == u16::MAX && accepted.max_packet > 1 << 27);
}

#[test]
fn a_message_over_the_limit_is_skipped_and_what_follows_is_read() {
    for protocol in BOTH {
        let properties = (protocol == Protocol::V5).then_some(&[][..]);
        let pong = packet(0xD0, &[]);
        for (pkid, large) in [
            (5, message("big", Some(5), properties, &[0xC0; 5000])),
            (0, message("big", None, properties, &[0xC0; 100_000])),
        ] {
            let bytes = [pong.clone(), large, pong.clone()].concat();
            for size in [1, 7, 200_000] {
                let packets = read(protocol, bytes.chunks(size).map(<[u8]>::to_vec).collect()).unwrap();
                assert!(
                    matches!(packets[..], [Incoming::Pong, Incoming::Oversized { pkid: p, .. }, Incoming::Pong] if p == pkid),
                    "{packets:?}"
                );
            }
        }
    }
}

#[test]
fn a_packet_that_lies_is_an_error_and_not_a_silence() {
    let both: [Vec<u8>; 9] = [
        vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
        packet(0x32, &[0, 50, b'a', 0, 1]),
        packet(0x32, &[0, 1, b'a', 0, 0]),
        packet(0x36, &[0, 1, b'a', 0, 1]),
        packet(0x30, &[0, 1, 0xFF, 0]),
        message("", None, Some(&[]), b"a topic alias that was never asked for"),
        packet(0x40, &[9]),
        packet(0x90, &[0, 1]),
        packet(0x90, &vec![1; 3000]),
    ];
    let v5 = [
        packet(0x30, &[0, 1, b'a', 9, 11]),
        packet(0x30, &[0, 1, b'a', 3, 9, 0, 9]),
        packet(0x40, &[0, 1, 0x42]),
        packet(0x90, &[0, 1, 9, 0]),
        packet(0x20, &[0, 0, 9, 33]),
        packet(0xF0, &[0]),
    ];
    for (protocol, bad) in
        both.iter().flat_map(|bad| BOTH.map(|protocol| (protocol, bad))).chain(v5.iter().map(|bad| (Protocol::V5, bad)))
    {
        let answer = read(protocol, vec![bad.clone()]);
        assert!(answer.is_err(), "{protocol:?} {bad:02X?} was read as {answer:?}");
    }
    // So is a message over the limit whose packet id would lie beyond its end.
    let mut long = message("x", Some(1), None, &[0; 3000]);
    (long[3], long[4]) = (0xFF, 0xFF);
    assert!(read(Protocol::V311, vec![long]).is_err());
}

fn publication(payload: Bytes, properties: Option<Properties>) -> Publication {
    Publication {
        topic: TopicName::new("a/b").unwrap(),
        payload,
        qos: Qos::AtLeastOnce,
        retain: true,
        properties: properties.map(Box::new),
        expires: None,
        not_after: None,
        class: Class::Interactive,
        notify: Notify::Once(oneshot::channel().0),
    }
}

#[test]
fn a_publish_is_written_as_the_standard_says_and_never_larger_than_its_bound() {
    let properties = Properties {
        response_topic: Some("r".to_owned()),
        correlation: Some(Bytes::from_static(b"c")),
        content_type: Some("t".to_owned()),
        user: vec![("n".to_owned(), "v".to_owned())],
    };
    let publication = publication(Bytes::from_static(b"hi"), Some(properties));
    for (protocol, expected) in [
        (Protocol::V311, message("a/b", Some(258), None, b"hi")),
        (
            Protocol::V5,
            message(
                "a/b",
                Some(258),
                Some(&[2, 0, 0, 0, 60, 8, 0, 1, b'r', 9, 0, 1, b'c', 38, 0, 1, b'n', 0, 1, b'v', 3, 0, 1, b't']),
                b"hi",
            ),
        ),
    ] {
        let (mut link, tape) = link(protocol);
        tape.0.lock().unwrap().takes = usize::MAX;
        link.publish(258, &publication, Some(60));
        link.turn().now_or_never().unwrap().unwrap();
        let mut sent = tape.0.lock().unwrap().taken.clone();
        assert_eq!(sent[0], 0x33, "QoS 1, retained, never DUP");
        sent[0] = 0x32;
        assert_eq!(sent, expected, "{protocol:?}");
        assert!(sent.len() <= publication.size_bound());
    }
}

#[test]
fn the_account_of_what_has_left_is_right_to_the_byte() {
    for protocol in BOTH {
        let (mut link, tape) = link(protocol);
        link.puback(1);
        link.puback(2);
        assert_eq!((link.position(), link.written()), (8, 0));
        assert!(link.turn().now_or_never().is_none(), "a socket that takes nothing");
        tape.0.lock().unwrap().takes = 5;
        assert_eq!(link.turn().now_or_never().unwrap().unwrap().wrote, 5);
        assert_eq!((link.position(), link.written()), (8, 5));
        link.ping();
        tape.0.lock().unwrap().takes = 100;
        link.turn().now_or_never().unwrap().unwrap();
        assert_eq!((link.position(), link.written()), (10, 10));
        assert_eq!(tape.0.lock().unwrap().taken, [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0xC0, 0]);
    }
}

#[test]
fn what_the_codec_refuses_in_the_middle_leaves_no_half_packet() {
    for protocol in BOTH {
        let (mut link, _tape) = link(protocol);
        link.ping();
        link.publish(1, &publication(vec![0; 268_435_456].into(), None), None);
        assert_eq!(link.position(), 2, "{protocol:?}");
    }
}

#[test]
fn what_the_broker_said_before_it_closed_is_heard_although_writing_fails() {
    let (mut link, tape) = link(Protocol::V5);
    link.ping();
    tape.0.lock().unwrap().write_fails = true;
    tape.0.lock().unwrap().incoming.push_back(packet(0xE0, &[0x8E]));
    assert_eq!(link.turn().now_or_never().unwrap().unwrap().read, 3);
    assert!(matches!(link.decode().unwrap(), Some(Incoming::Disconnect { code: 0x8E, .. })));
    let error = link.turn().now_or_never().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), v5 in any::<bool>()) {
        drop(read(if v5 { Protocol::V5 } else { Protocol::V311 }, vec![bytes]));
    }

    #[test]
    fn no_packet_with_a_few_wrong_bytes_makes_it_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        v5 in any::<bool>(),
    ) {
        let protocol = if v5 { Protocol::V5 } else { Protocol::V311 };
        let mut bytes = which.get(&conversation(protocol)).clone();
        let length = bytes.len();
        for (at, byte) in changes {
            bytes[at.index(length)] = byte;
        }
        bytes.truncate(1 + cut.index(length));
        // Enough after it that a lying length is satisfied.
        bytes.extend_from_slice(&[0; 64]);
        drop(read(protocol, vec![bytes]));
    }
}
