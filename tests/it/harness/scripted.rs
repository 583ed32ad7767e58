//! A scripted MQTT broker: the test says each answer itself, also those that no real broker can be made to give.

use std::time::Duration;
use switchboard::mqtt::{Options, Protocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) const BOTH: [Protocol; 2] = [Protocol::V5, Protocol::V311];
/// How long a test waits for what has to come.
const SOON: Duration = Duration::from_secs(10);

/// A port at which the test itself is the broker.
pub(crate) struct Scripted {
    listener: TcpListener,
    protocol: Protocol,
}

/// One connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    protocol: Protocol,
}

/// What a client said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    Connect {
        clean: bool,
    },
    Publish {
        topic: String,
        pkid: u16,
        dup: bool,
        payload: String,
    },
    PubAck(u16),
    Subscribe {
        pkid: u16,
        filters: Vec<String>,
        id: Option<u32>,
    },
    Unsubscribe {
        pkid: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect,
    /// The connection is closed or reset.
    Gone,
}

impl Scripted {
    pub(crate) async fn start(protocol: Protocol) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), protocol }
    }

    /// Options for this broker that reconnect at once.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(&format!("mqtt://{}", self.listener.local_addr().unwrap())).unwrap();
        options.protocol = self.protocol;
        options.backoff_min = Duration::from_millis(1);
        options.backoff_max = Duration::from_millis(20);
        options
    }

    /// The next connection, its CONNECT unread.
    pub(crate) async fn accept(&self) -> Connection {
        let (stream, _) = tokio::time::timeout(SOON, self.listener.accept()).await.expect("a client connects").unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, input: Vec::new(), protocol: self.protocol }
    }

    /// The next connection, accepted without limits.
    pub(crate) async fn accept_with(&self, session_present: bool, properties: &[u8]) -> Connection {
        let mut connection = self.accept().await;
        let said = connection.next().await;
        assert!(matches!(said, Said::Connect { .. }), "{said:?}");
        connection.connack(session_present, properties).await;
        connection
    }

    /// The next connection, accepted without limits and without a session.
    pub(crate) async fn accept_new(&self) -> Connection {
        self.accept_with(false, &[]).await
    }
}

/// A packet of this first byte and body.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let more = length > 0x7F;
        bytes.push((length & 0x7F) as u8 | if more { 0x80 } else { 0 });
        length >>= 7;
        if !more {
            bytes.extend_from_slice(body);
            return bytes;
        }
    }
}

impl Connection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Accepts; the properties are left out on MQTT 3.1.1.
    pub(crate) async fn connack(&mut self, session_present: bool, properties: &[u8]) {
        let mut body = vec![u8::from(session_present), 0];
        if self.protocol == Protocol::V5 {
            body.push(properties.len() as u8);
            body.extend_from_slice(properties);
        }
        self.send(&packet(0x20, &body)).await;
    }

    pub(crate) async fn puback(&mut self, pkid: u16) {
        self.send(&packet(0x40, &pkid.to_be_bytes())).await;
    }

    pub(crate) async fn suback(&mut self, pkid: u16, codes: &[u8]) {
        let mut body = pkid.to_be_bytes().to_vec();
        body.extend((self.protocol == Protocol::V5).then_some(0));
        body.extend_from_slice(codes);
        self.send(&packet(0x90, &body)).await;
    }

    pub(crate) async fn unsuback(&mut self, pkid: u16, filters: usize) {
        let mut body = pkid.to_be_bytes().to_vec();
        if self.protocol == Protocol::V5 {
            body.resize(3 + filters, 0);
        }
        self.send(&packet(0xB0, &body)).await;
    }

    /// A message; QoS 1 with a packet id, 0 without.
    pub(crate) async fn publish(&mut self, topic: &str, pkid: Option<u16>, payload: &[u8]) {
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(topic.as_bytes());
        body.extend(pkid.into_iter().flat_map(u16::to_be_bytes));
        body.extend((self.protocol == Protocol::V5).then_some(0));
        body.extend_from_slice(payload);
        self.send(&packet(if pkid.is_some() { 0x32 } else { 0x30 }, &body)).await;
    }

    /// What the client says next.
    pub(crate) async fn next(&mut self) -> Said {
        tokio::time::timeout(SOON, self.read()).await.expect("the client says something")
    }

    /// What the client says next; nothing within this long.
    pub(crate) async fn next_within(&mut self, duration: Duration) -> Option<Said> {
        tokio::time::timeout(duration, self.read()).await.ok()
    }

    /// The next publish, which nothing else comes before: its packet id and payload.
    pub(crate) async fn next_publish(&mut self) -> (u16, String) {
        match self.next().await {
            Said::Publish { pkid, payload, dup: false, .. } => (pkid, payload),
            other => panic!("a new publish was to come, and not {other:?}"),
        }
    }

    /// The next SUBSCRIBE, which nothing else comes before: its filters, granted.
    pub(crate) async fn grant(&mut self) -> Vec<String> {
        match self.next().await {
            Said::Subscribe { pkid, filters, .. } => {
                self.suback(pkid, &vec![1; filters.len()]).await;
                filters
            }
            other => panic!("a SUBSCRIBE was to come, and not {other:?}"),
        }
    }

    /// Acknowledges and grants everything until the client is gone; what it said.
    pub(crate) async fn serve(mut self) -> Vec<Said> {
        let mut all = Vec::new();
        loop {
            let said = self.read().await;
            all.push(said.clone());
            match said {
                Said::Publish { pkid, .. } if pkid != 0 => self.puback(pkid).await,
                Said::Subscribe { pkid, filters, .. } => self.suback(pkid, &vec![1; filters.len()]).await,
                Said::Unsubscribe { pkid, filters } => self.unsuback(pkid, filters.len()).await,
                Said::Ping => self.send(&[0xD0, 0]).await,
                Said::Disconnect | Said::Gone => return all,
                _ => {}
            }
        }
    }

    /// Cuts the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Closes with unread bytes left, so that the client's next write fails while what was sent still waits to be read.
    pub(crate) async fn reset_after_sending(mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Reads one packet; safe to be dropped.
    async fn read(&mut self) -> Said {
        loop {
            if let Some((first, body)) = self.take() {
                return self.parse(first, &body);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return Said::Gone,
                Ok(_) => {}
            }
        }
    }

    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = *self.input.get(at)?;
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if self.input.len() < at + length {
            return None;
        }
        let packet: Vec<u8> = self.input.drain(..at + length).collect();
        Some((packet[0], packet[at..].to_vec()))
    }

    fn parse(&self, first: u8, body: &[u8]) -> Said {
        let v5 = self.protocol == Protocol::V5;
        let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let text = |at: usize| String::from_utf8(body[at + 2..at + 2 + usize::from(number(at))].to_vec()).unwrap();
        let filters = |mut at: usize, options: usize| {
            let mut filters = Vec::new();
            while at < body.len() {
                filters.push(text(at));
                at += 2 + usize::from(number(at)) + options;
            }
            filters
        };
        match first >> 4 {
            1 => Said::Connect { clean: body[7] & 2 != 0 },
            3 => {
                let topic = text(0);
                let mut at = 2 + topic.len();
                let pkid = if first & 0b110 == 0 { 0 } else { number(at) };
                at += if pkid == 0 { 0 } else { 2 };
                at += if v5 { 1 + usize::from(body[at]) } else { 0 };
                let payload = String::from_utf8_lossy(&body[at..]).into_owned();
                Said::Publish { topic, pkid, dup: first & 8 != 0, payload }
            }
            4 => Said::PubAck(number(0)),
            8 => {
                let properties = if v5 { usize::from(body[2]) } else { 0 };
                // The identifier is the only property that is sent; the tests' are below 128.
                let id = (properties > 0).then(|| u32::from(body[4]));
                let at = 2 + if v5 { 1 + properties } else { 0 };
                Said::Subscribe { pkid: number(0), filters: filters(at, 1), id }
            }
            10 => Said::Unsubscribe { pkid: number(0), filters: filters(2 + usize::from(v5), 0) },
            12 => Said::Ping,
            14 => Said::Disconnect,
            other => panic!("a client says nothing of type {other}"),
        }
    }
}
