//! The MQTT half over what a connection can be made of: TLS, client certificates, WebSocket, and a login.

use crate::harness::mosquitto;
use std::process::Command;
use std::time::Duration;
use switchboard::demo::brokers::mosquitto as broker;
use switchboard::mqtt::{Agent, Error, Options, Password, Protocol, TlsFiles};

const SOON: Duration = Duration::from_secs(20);

async fn round_trip(options: Options) -> Result<(), Error> {
    let agent = Agent::connect(options).await?;
    let mut reader = agent.subscribe("t").await?;
    // Larger than any one frame or record.
    let payload = vec![b'x'; 200_000];
    agent.publish("t", payload.clone()).await?;
    assert_eq!(reader.next_within(SOON).await?.payload, payload);
    agent.close().await;
    Ok(())
}

async fn refused(options: Options) -> String {
    round_trip(options).await.expect_err("the connection is refused").to_string()
}

#[tokio::test]
async fn tls_trusts_the_named_authority_and_no_other_and_checks_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let files = mosquitto::certificates(folder.path(), false);
    let server = mosquitto::start_with(broker::Options { tls: Some(files.clone()), ..Default::default() });
    let options = |host: &str| {
        let mut options = Options::new(&format!("mqtts://{host}:{}", server.tls_port())).unwrap();
        options.tls = TlsFiles { ca_file: Some(files.ca_file.clone()), ..TlsFiles::default() };
        options
    };
    for host in ["localhost", "127.0.0.1"] {
        round_trip(options(host)).await.unwrap();
    }
    let wrong_host = refused(options("127.0.0.2")).await;
    assert!(wrong_host.contains("127.0.0.2"), "{wrong_host}");
    let mut system = options("localhost");
    system.tls.ca_file = None;
    let unknown = refused(system).await;
    assert!(unknown.contains("UnknownIssuer"), "{unknown}");
    let mut missing = options("localhost");
    missing.tls.ca_file = Some(folder.path().join("no-such-file"));
    assert!(refused(missing).await.contains("no-such-file"));
    let mut half = options("localhost");
    half.tls.cert_file = Some(files.cert_file.clone());
    assert!(refused(half).await.contains("key_file"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = mosquitto::certificates(folder.path(), true);
    let server = mosquitto::start_with(broker::Options { tls: Some(files.clone()), ..Default::default() });
    let mut options = Options::new(&format!("mqtts://localhost:{}", server.tls_port())).unwrap();
    options.tls = TlsFiles { ca_file: Some(files.ca_file.clone()), ..TlsFiles::default() };
    refused(options.clone()).await;
    (options.tls.cert_file, options.tls.key_file) = (Some(files.cert_file), Some(files.key_file));
    round_trip(options).await.unwrap();
}

#[tokio::test]
async fn websocket_carries_both_versions() {
    let server = mosquitto::start_with(broker::Options { websocket: true, ..Default::default() });
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut options = Options::new(&format!("ws://127.0.0.1:{}/mqtt", server.websocket_port())).unwrap();
        options.protocol = protocol;
        round_trip(options).await.unwrap();
    }
}

#[tokio::test]
async fn a_login_is_checked_and_a_wrong_one_named_without_its_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args(["me", "s3cret"]).status();
    assert!(made.expect("mosquitto_passwd comes with mosquitto").success());
    let lines = vec!["allow_anonymous false".to_owned(), format!("password_file {}", file.display())];
    let server = mosquitto::start_with(broker::Options { lines, ..Default::default() });
    for protocol in [Protocol::V5, Protocol::V311] {
        let with = |url: String| {
            let mut options = Options::new(&url).unwrap();
            options.protocol = protocol;
            options
        };
        round_trip(with(format!("mqtt://me:s3cret@127.0.0.1:{}", server.port()))).await.unwrap();
        let mut apart = with(server.url());
        (apart.username, apart.password) = (Some("me".to_owned()), Some(Password::new("s3cret")));
        round_trip(apart).await.unwrap();
        let wrong = refused(with(format!("mqtt://me:wr0ng@127.0.0.1:{}", server.port()))).await;
        assert!(wrong.contains("NotAuthorized") && !wrong.contains("wr0ng"), "{wrong}");
    }
}
