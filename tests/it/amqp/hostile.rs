//! Messages that RabbitMQ hands on and an AMQP client may choke on.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn short(text: &[u8]) -> Vec<u8> {
    [&[text.len() as u8][..], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat()
}

/// A producer that writes its frames itself: no client library would write these.
struct RawProducer(TcpStream);

impl RawProducer {
    async fn connect(port: u16) -> Self {
        let mut raw = Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        raw.0.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
        raw.read().await;
        let start_ok = [long(b""), short(b"PLAIN"), long(b"\0guest\0guest"), short(b"en_US")].concat();
        raw.method([0, 10, 0, 11], &start_ok).await;
        let tune = raw.read().await;
        raw.method([0, 10, 0, 31], &[&tune[4..10], &[0, 0]].concat()).await;
        raw.method([0, 10, 0, 40], &[short(b"/"), short(b""), vec![0]].concat()).await;
        raw.read().await;
        raw.frame(1, 1, &[&[0, 20, 0, 10][..], &short(b"")].concat()).await;
        raw.read().await;
        raw.frame(1, 1, &[0, 85, 0, 10, 0]).await;
        raw.read().await;
        raw
    }

    async fn frame(&mut self, kind: u8, channel: u8, payload: &[u8]) {
        let frame = [&[kind, 0, channel][..], &long(payload), &[0xce]].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    async fn method(&mut self, method: [u8; 4], arguments: &[u8]) {
        self.frame(1, 0, &[&method[..], arguments].concat()).await;
    }

    async fn read(&mut self) -> Vec<u8> {
        let mut prefix = [0; 7];
        self.0.read_exact(&mut prefix).await.unwrap();
        let length = u32::from_be_bytes([prefix[3], prefix[4], prefix[5], prefix[6]]) as usize;
        let mut payload = vec![0; length + 1];
        self.0.read_exact(&mut payload).await.unwrap();
        payload
    }

    /// Publishes with these properties and waits for the confirm.
    async fn publish(&mut self, to: (&str, &[u8]), flags: u16, properties: &[u8]) {
        let publish = [&[0, 60, 0, 40, 0, 0][..], &short(to.0.as_bytes()), &short(to.1), &[0]].concat();
        self.frame(1, 1, &publish).await;
        let fixed = [&[0, 60, 0, 0][..], &4u64.to_be_bytes(), &flags.to_be_bytes()].concat();
        self.frame(2, 1, &[&fixed[..], properties].concat()).await;
        self.frame(3, 1, b"body").await;
        assert_eq!(self.read().await[..4], [0, 60, 0, 80], "the broker did not confirm");
    }
}

#[tokio::test]
async fn no_message_of_a_producer_ends_the_connection_or_the_process() {
    let (name, url) = (unique("amqp"), rabbitmq::shared().await.url());
    let connection = Connection::start(options(&format!("{url}?frame_max=32768"), &name), "consume");
    connection.up(PATIENCE).await.unwrap();
    let topology = queue(&name, QueueKind::Classic, &[]);
    topology.apply(&connection).await.unwrap();
    let mut raw = RawProducer::connect(rabbitmq::shared().await.port()).await;
    let to = ("", name.as_bytes());
    let nest = (0..5_000).fold(b"V".to_vec(), |inner, _| [&b"A"[..], &long(&inner)].concat());
    raw.publish(to, 1 << 13, &long(&[short(b"nest"), nest].concat())).await;
    raw.publish(to, 1 << 10, &short(b"\xff\xfeid")).await;
    raw.publish(to, 1 << 13, &long(&[short(b"\xffname"), b"V".to_vec()].concat())).await;
    raw.publish(to, 1 << 13, &long(&[short(b"raw"), b"S".to_vec(), long(b"\xff")].concat())).await;
    let large = [short(b"large"), b"S".to_vec(), long(&[b'x'; 100_000])].concat();
    raw.publish(to, 1 << 13 | 1 << 10, &[long(&large), short(b"id")].concat()).await;
    raw.publish(to, 0, b"").await;

    let (consumer, mut deliveries) = Consumer::start(connection.clone(), topology, name, 10);
    let found = take(&mut deliveries, 6).await;
    assert!(found.iter().all(|delivery| delivery.envelope.body == "body" && !delivery.redelivered));
    assert!(matches!(found[0].envelope.headers.get("nest"), Some(Value::List(_))));
    assert_eq!(found[1].envelope.correlation_id.as_deref(), Some("??id"));
    assert_eq!(found[2].envelope.headers.get("?name"), Some(&Value::Null));
    assert_eq!(found[3].envelope.headers.get("raw"), Some(&Value::Bytes(b"\xff".as_slice().into())));
    assert_eq!(found[4].envelope.headers.get("x-switchboard-headers-dropped"), Some(&Value::Int(100_015)));
    assert_eq!(found[4].envelope.correlation_id.as_deref(), Some("id"));
    found.into_iter().for_each(|delivery| delivery.receipt.ack());
    assert_eq!(consuming(&consumer).await, 1, "the connection did not survive");
}
