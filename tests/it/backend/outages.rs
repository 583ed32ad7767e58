//! A Redis that is away, silent, full, or refuses.

use super::*;
use crate::harness::mosquitto::certificates;
use std::time::Instant;

#[tokio::test]
async fn a_result_is_stored_by_a_redis_that_was_killed_and_started_again_meanwhile() {
    let (mut redis, backend, _) = start().await;
    backend.ping().await.unwrap();
    redis
        .with(|server| {
            server.kill();
            Ok(())
        })
        .await;
    let body = envelope("SUCCESS", "task");
    let stores = (0..50).map(|number| {
        let (backend, body) = (backend.clone(), body.clone());
        tokio::spawn(async move { backend.store(&format!("task-{number}"), "SUCCESS", body.as_bytes()).await })
    });
    let stores: Vec<_> = stores.collect();
    let early = timeout(Duration::from_millis(300), backend.ping()).await;
    assert!(early.is_err(), "{early:?}");
    redis.with(Redis::start_again).await;
    for stored in stores {
        timeout(PATIENCE, stored).await.unwrap().unwrap().unwrap();
    }
    let client = redis.client().await;
    assert_eq!(client.get("celery-task-meta-task-49").await, Some(body));
    assert_eq!(client.run::<i64>(&["DBSIZE"]).await, 50);
    // Fifty operations shared one connection, besides that of this test.
    let listed: String = client.run(&["CLIENT", "LIST"]).await;
    assert_eq!(listed.lines().count(), 2, "{listed}");
}

#[tokio::test]
async fn a_redis_that_is_away_stops_no_start_and_is_named_at_the_deadline() {
    let redis = OwnRedis::start().await;
    let url = format!("redis://user:canary@127.0.0.1:{}/0", redis.server().port());
    drop(redis);
    let deadline = Duration::from_millis(400);
    let backend = Backend::connect(Options { url, deadline, ..Options::default() }).unwrap();
    let start = Instant::now();
    let error = backend.store("task", "SUCCESS", b"{}").await.unwrap_err();
    assert!(start.elapsed() >= deadline);
    let text = error.to_string();
    assert!(matches!(error, Error::TimedOut { .. }), "{text}");
    assert!(text.contains(backend.address()) && text.contains("refused") && text.contains("0.4 s"), "{text}");
    assert!(!text.contains("canary") && !format!("{backend:?}").contains("canary"), "{text}");
}

#[tokio::test]
async fn a_redis_that_falls_silent_is_left_for_a_new_connection() {
    let mut redis = OwnRedis::start().await;
    let backend = Backend::connect(Options { deadline: Duration::from_secs(3), ..options(&redis) }).unwrap();
    backend.ping().await.unwrap();
    redis.with(Redis::freeze).await;
    let error = backend.ping().await.unwrap_err();
    assert!(matches!(&error, Error::TimedOut { last, .. } if last.contains("within 1 s")), "{error}");
    redis.with(Redis::thaw).await;
    timeout(PATIENCE, async { while backend.ping().await.is_err() {} }).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_named_at_once_and_not_repeated() {
    let server = Server { lines: vec!["requirepass right".to_owned()], ..Server::default() };
    let redis = OwnRedis::start_with(server).await;
    let port = redis.server().port();
    let with = |login: &str| {
        let url = format!("redis://{login}127.0.0.1:{port}");
        Backend::connect(Options { url, deadline: PATIENCE, ..Options::default() }).unwrap()
    };
    for (login, words) in [(":canary@", "password is wrong"), ("canary:canary@", "password is wrong"), ("", "NOAUTH")] {
        let error = timeout(Duration::from_secs(20), with(login).ping()).await.unwrap().unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::Login { .. }), "{text}");
        assert!(text.contains(words) && text.contains(&port.to_string()) && !text.contains("canary"), "{text}");
    }
    with(":right@").ping().await.unwrap();
}

#[tokio::test]
async fn a_database_that_is_not_there_is_named_at_once() {
    let (redis, _, _) = start().await;
    let url = format!("redis://127.0.0.1:{}/99", redis.server().port());
    let backend = Backend::connect(Options { url, deadline: PATIENCE, ..Options::default() }).unwrap();
    let text = timeout(Duration::from_secs(20), backend.ping()).await.unwrap().unwrap_err().to_string();
    assert!(text.contains("DB index"), "{text}");
}

#[tokio::test]
async fn an_operation_that_the_user_may_not_do_is_named() {
    let acl = "user limited on >pass ~* &* +ping +hello +client +select".to_owned();
    let redis = OwnRedis::start_with(Server { lines: vec![acl], ..Server::default() }).await;
    let url = format!("redis://limited:pass@127.0.0.1:{}", redis.server().port());
    let backend = Backend::connect(Options { url, deadline: PATIENCE, ..Options::default() }).unwrap();
    backend.ping().await.unwrap();
    match timeout(Duration::from_secs(20), backend.store("task", "SUCCESS", b"{}")).await.unwrap() {
        Err(Error::Refused { doing, reason, .. }) => {
            assert!(doing == "storing a result" && reason.contains("no permissions"), "{doing}: {reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_full_redis_is_waited_for() {
    let (_redis, backend, client) = start().await;
    client.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let store = tokio::spawn(async move { backend.store("task", "SUCCESS", b"{}").await });
    let refused = async || {
        let said: String = client.run(&["INFO", "errorstats"]).await;
        said.contains("errorstat_OOM")
    };
    crate::harness::eventually::eventually("Redis refuses for lack of memory", PATIENCE, refused).await;
    client.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    timeout(PATIENCE, store).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn over_tls_the_server_proves_its_name_to_the_authority_in_the_url() {
    let files = tempfile::tempdir().unwrap();
    let tls = certificates(files.path(), false);
    let server = Server { tls: Some((tls.cert_file, tls.key_file)), ..Server::default() };
    let redis = OwnRedis::start_with(server).await;
    let address = format!("rediss://127.0.0.1:{}/0?ssl_cert_reqs=CERT_REQUIRED", redis.server().tls_port());
    let with = |url: String, deadline| Backend::connect(Options { url, deadline, ..Options::default() }).unwrap();
    let trusted = format!("{address}&ssl_ca_certs={}", tls.ca_file.display());
    with(trusted, PATIENCE).store("task", "SUCCESS", b"{}").await.unwrap();
    let text = with(address.clone(), Duration::from_millis(500)).ping().await.unwrap_err().to_string();
    assert!(text.contains("certificate"), "{text}");
    let text = with(format!("{address}&ssl_ca_certs=no-such-file.pem"), PATIENCE).ping().await.unwrap_err();
    assert!(text.to_string().contains("no-such-file.pem"), "{text}");
}
