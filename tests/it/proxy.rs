//! The path between client and broker does to bytes and connections what a test asks of it, and nothing else.

use crate::harness::eventually::eventually;
use crate::harness::proxy::{Direction, Proxy};
use std::io::ErrorKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SOON: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_millis(100);

/// A server that sends back what it gets.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

async fn reads(stream: &mut TcpStream, expected: &[u8]) -> bool {
    let mut got = vec![0; expected.len()];
    let read = tokio::time::timeout(SOON, stream.read_exact(&mut got)).await;
    read.is_ok_and(|read| read.is_ok()) && got == expected
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(NEVER, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn bytes_pass_and_are_counted_and_an_end_is_an_end() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    assert!(reads(&mut stream, b"hello").await);
    assert_eq!((proxy.bytes(Direction::Up), proxy.bytes(Direction::Down)), (5, 5));
    assert_eq!((proxy.accepted(), proxy.open()), (1, 1));
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
    eventually("the connection is gone", SOON, async || proxy.open() == 0).await;
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_takes_what_comes() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert!(reads(&mut stream, b"x").await);
    proxy.cut();
    assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
    next.write_all(b"y").await.unwrap();
    assert!(reads(&mut next, b"y").await);
}

#[tokio::test]
async fn refused_connections_are_refused_and_open_ones_stay() {
    let proxy = Proxy::to(echo().await).await;
    let mut open = TcpStream::connect(proxy.addr()).await.unwrap();
    open.write_all(b"x").await.unwrap();
    assert!(reads(&mut open, b"x").await);
    proxy.refuse(true).await;
    assert_eq!(TcpStream::connect(proxy.addr()).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    open.write_all(b"y").await.unwrap();
    assert!(reads(&mut open, b"y").await);
    proxy.refuse(false).await;
    TcpStream::connect(proxy.addr()).await.unwrap();
}

#[tokio::test]
async fn a_frozen_direction_holds_its_bytes_until_the_thaw() {
    let proxy = Proxy::to(echo().await).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    for freeze in [Proxy::freeze, Proxy::freeze_up, Proxy::freeze_down] {
        freeze(&proxy);
        stream.write_all(b"held").await.unwrap();
        assert!(is_silent(&mut stream).await);
        proxy.thaw();
        assert!(reads(&mut stream, b"held").await);
    }
    proxy.freeze_down();
    let up = proxy.bytes(Direction::Up);
    stream.write_all(b"up").await.unwrap();
    eventually("the way up is open", SOON, async || proxy.bytes(Direction::Up) == up + 2).await;
}

#[tokio::test]
async fn a_delay_delays_each_way_without_narrowing_the_path() {
    let proxy = Proxy::to(echo().await).await;
    let delay = Duration::from_millis(100);
    proxy.delay(delay);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    let start = Instant::now();
    for _ in 0..20 {
        stream.write_all(b"x").await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(reads(&mut stream, &[b'x'; 20]).await);
    let took = start.elapsed();
    assert!(took >= 2 * delay && took < 20 * delay, "{took:?}");
}

#[tokio::test]
async fn a_limit_cuts_in_the_middle() {
    let proxy = Proxy::to(echo().await).await;
    proxy.limit(Direction::Down, 3);
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut got = Vec::new();
    let error = stream.read_to_end(&mut got).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // A reset may overtake bytes that arrived; none beyond the limit ever passes.
    assert!(b"hel".starts_with(&got[..]), "{got:?}");
    assert_eq!(proxy.bytes(Direction::Down), 3);
    let mut next = TcpStream::connect(proxy.addr()).await.unwrap();
    next.write_all(b"hello").await.unwrap();
    assert!(reads(&mut next, b"hello").await);
}

#[tokio::test]
async fn only_those_are_cut_who_said_the_word() {
    let proxy = Proxy::to_any(&[1, echo().await]).await;
    let mut streams = Vec::new();
    for name in [b"consume", b"publish"] {
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        stream.write_all(name).await.unwrap();
        assert!(reads(&mut stream, name).await);
        streams.push(stream);
    }
    proxy.cut_where("publish");
    eventually("one is cut", SOON, async || proxy.open() == 1).await;
    assert_eq!(streams[1].read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    streams[0].write_all(b"more").await.unwrap();
    assert!(reads(&mut streams[0], b"more").await);
}
