//! Brokers that are not there, silent, or refuse.

use super::*;
use crate::harness::proxy::Proxy;
use std::time::Instant;
use switchboard::amqp::{Error, LinkState};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

fn io_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lapin-io-loop")).count()
}

#[tokio::test]
async fn a_peer_that_accepts_and_stays_silent_costs_its_deadline_and_no_thread() {
    const TRIES: usize = 150;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(&format!("amqp://guest:secret@{}/%2f", listener.local_addr().unwrap()), "silent");
    options.connect_timeout = Duration::from_millis(40);
    options.backoff_max = Duration::from_millis(1);
    let before = io_threads();
    let connection = Connection::start(options, "consume");
    // Each try must end on the wire too.
    for _ in 0..TRIES {
        let (mut peer, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut said = Vec::new();
        let _ = timeout(PATIENCE, peer.read_to_end(&mut said)).await.expect("the socket is closed at the deadline");
        // On a busy machine the deadline may be over before the first word.
        assert!(said.is_empty() || said.starts_with(b"AMQP"), "{said:?}");
    }
    let error = connection.up(Duration::from_millis(200)).await.unwrap_err().to_string();
    assert!(error.contains("within 0.04 s") || error.contains("still connecting"), "{error}");
    assert!(!error.contains("secret"));
    connection.close().await;
    // Other tests have threads of that name too, but not so many.
    found("the threads of the tries are gone", PATIENCE, async || (io_threads() < before + TRIES / 2).then_some(()))
        .await;
}

#[tokio::test]
async fn a_connection_that_is_closed_while_it_connects_is_gone_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connection = Connection::start(options(&format!("amqp://{}", listener.local_addr().unwrap()), "n"), "consume");
    let (mut peer, _) = listener.accept().await.unwrap();
    let start = Instant::now();
    connection.close().await;
    assert_eq!(*connection.state().borrow(), LinkState::Closed);
    let _ = timeout(Duration::from_secs(2), peer.read_to_end(&mut Vec::new())).await.expect("the socket is closed");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(matches!(connection.up(Duration::from_secs(1)).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_virtual_host_are_told_and_tried_again() {
    let port = rabbitmq::shared().await.port();
    for (url, words) in [
        (format!("amqp://guest:wrong-secret@127.0.0.1:{port}/%2f"), "ACCESS_REFUSED"),
        (format!("amqp://guest:guest@127.0.0.1:{port}/no-such-vhost"), "no-such-vhost"),
        ("amqp://guest:guest@127.0.0.1:1/%2f".to_owned(), "refused"),
        ("amqps://guest:guest@no-such-host.invalid/%2f".to_owned(), "no-such-host"),
        ("http://guest:wrong-secret@h/".to_owned(), "amqp://USER:PASSWORD@HOST"),
    ] {
        let connection = Connection::start(options(&url, "n"), "consume");
        let mut state = connection.state();
        let down = timeout(PATIENCE, state.wait_for(|state| matches!(state, LinkState::Down { .. }))).await;
        let told = format!("{:?}", down.unwrap().unwrap().clone());
        assert!(told.contains(words), "{told}");
        assert!(!told.contains("wrong-secret") && !format!("{connection:?}").contains("wrong-secret"), "{told}");
    }
}

#[tokio::test]
async fn when_the_last_handle_is_gone_so_is_the_connection() {
    let (connection, name) = connect("consume").await;
    drop(connection);
    found("the broker does not list it", PATIENCE, async || {
        let listed = ctl(&["-q", "list_connections", "client_properties"]).await;
        (!listed.contains(&name)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_address_is_read_as_kombu_reads_it() {
    let port = rabbitmq::shared().await.port();
    for url in [
        format!("pyamqp://guest:guest@127.0.0.1:{port}"),
        format!("amqp://127.0.0.1:{port}/"),
        format!("amqp://guest:guest@127.0.0.1:{port}//"),
    ] {
        let connection = Connection::start(options(&url, "kombu"), "consume");
        connection.up(PATIENCE).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[tokio::test]
async fn of_several_brokers_the_first_that_takes_us_is_used_and_the_others_are_named() {
    let port = rabbitmq::shared().await.port();
    for url in [
        format!("amqp://guest:guest@127.0.0.1:1/;amqp://guest:guest@127.0.0.1:{port}/"),
        format!("amqp://guest:guest@127.0.0.1:1/;127.0.0.1:{port}"),
        format!("amqp://guest:canary@127.0.0.1:{port}/;amqp://guest:guest@127.0.0.1/;127.0.0.1:1"),
    ] {
        let connection = Connection::start(options(&url, "several"), "consume");
        connection.up(PATIENCE).await.unwrap();
        let route = connection.route().unwrap();
        assert_eq!(route.node, format!("127.0.0.1:{port}"), "{url}");
        let [failure] = route.failures.as_slice() else { panic!("{url}: {route:?}") };
        let words = if url.contains("canary") { "ACCESS_REFUSED" } else { "127.0.0.1:1: " };
        assert!(failure.contains(words) && !failure.contains("canary"), "{failure}");
    }
}

#[tokio::test]
async fn where_no_broker_of_several_is_reached_each_is_named_without_its_password() {
    let port = rabbitmq::shared().await.port();
    let url = format!("amqp://u:canary@127.0.0.1:1/;amqp://guest:canary@127.0.0.1:{port}/;no-such-host.invalid:7");
    let connection = Connection::start(options(&url, "none"), "consume");
    let mut state = connection.state();
    let down = timeout(PATIENCE, state.wait_for(|state| matches!(state, LinkState::Down { .. }))).await;
    let told = format!("{:?}", down.unwrap().unwrap().clone());
    for words in ["127.0.0.1:1: ", "ACCESS_REFUSED", "no-such-host.invalid:7: "] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    assert!(!told.contains("canary"), "{told}");
    assert_eq!(connection.route(), None);
}

#[tokio::test]
async fn a_broker_that_goes_is_left_for_the_next_of_the_list() {
    let other = rabbitmq::shared().await.port();
    let proxy = Proxy::to(other).await;
    let url = format!("amqp://guest:guest@127.0.0.1:{}/;127.0.0.1:{other}", proxy.addr().port());
    let connection = Connection::start(options(&url, "failover"), "consume");
    connection.up(PATIENCE).await.unwrap();
    assert_eq!(connection.route().unwrap().node, format!("127.0.0.1:{}", proxy.addr().port()));
    proxy.refuse(true).await;
    proxy.cut();
    found("it goes to the other", PATIENCE, async || {
        connection.route().is_some_and(|route| route.node == format!("127.0.0.1:{other}")).then_some(())
    })
    .await;
}
