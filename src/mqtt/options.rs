//! How to reach the broker, and every limit of the agent.

use super::error::Error;
use super::message::Qos;
use crate::tls::TlsFiles;
use std::fmt;
use std::time::Duration;

/// The version of MQTT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5.0: reasons for refusals, message expiry, "nobody is subscribed". The better choice wherever the broker has it.
    #[default]
    V5,
    /// MQTT 3.1.1.
    V311,
}

/// A password, never shown by `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Wraps it.
    pub fn new(password: impl Into<String>) -> Self {
        Self(password.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// How to reach the broker, and every limit of the agent.
#[derive(Clone, Debug)]
pub struct Options {
    /// `mqtt`, `mqtts`, `ws` or `wss`.
    pub(crate) scheme: Scheme,
    /// Host name or address.
    pub(crate) host: String,
    /// TCP port.
    pub(crate) port: u16,
    /// Path of a WebSocket.
    pub(crate) path: String,
    /// The version of MQTT.
    pub protocol: Protocol,
    /// Must be unique among all clients of the broker: two with one id evict each other. Where the broker says so, the agent
    /// ends; where it just closes the connection, [`super::LinkState::Down`] names the suspicion.
    pub client_id: String,
    /// The login, where the broker wants one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Password>,
    /// A silent connection is tested after half of this and given up after the whole.
    pub keep_alive: Duration,
    /// How long the broker keeps subscriptions and unsent answers after a lost connection (MQTT 5); a close ends it at once.
    pub session_expiry: Duration,
    /// TLS files for `mqtts` and `wss`.
    pub tls: TlsFiles,
    /// From the TCP connect to the CONNACK.
    pub connect_timeout: Duration,
    /// The first pause after a lost connection; it doubles, with jitter.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// How long the broker may take to acknowledge a publish or a subscription. A publish is then of unknown fate; a broker
    /// that answers no subscription, or none of a whole window of publishes, is given up.
    pub ack_timeout: Duration,
    /// How long [`super::Agent::close`] waits for what is under way.
    pub close_timeout: Duration,
    /// The largest message that is taken from the broker, in bytes; a larger one is skipped and counted.
    pub max_incoming: usize,
    /// QoS 1 publishes in flight towards the broker. A broker with default limits drops what is over 1,000.
    pub max_inflight: usize,
    /// Publishes that may wait for the connection or the window before `publish` itself waits.
    pub queue: usize,
    /// Messages that may wait in one subscription's stream before it loses some.
    pub reader_queue: usize,
    /// How long a subscription outlives its last user, so that a command a second is not a SUBSCRIBE a second.
    pub linger: Duration,
    /// Filters in one SUBSCRIBE packet; some brokers take only eight.
    pub filters_per_subscribe: usize,
    /// The QoS of subscriptions. At 1 a broker queues what it cannot send at once, and drops what is over its limit for a
    /// client: at 0 thousands of retained messages come without that.
    pub subscribe_qos: Qos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Mqtt,
    Mqtts,
    Ws,
    Wss,
}

impl Options {
    /// Options for `mqtt://`, `mqtts://`, `ws://` or `wss://` `[user[:password]@]host[:port][/path]`, everything else at its
    /// default, with a client id that no other process has.
    pub fn new(url: &str) -> Result<Self, Error> {
        let wrong = |what: &str| {
            Error::Options(format!(
                "the MQTT URL {what}; right is mqtt://host:1883, mqtts://host:8883, ws://host/mqtt or wss://host/mqtt"
            ))
        };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (scheme, default_port) = match scheme {
            "mqtt" => (Scheme::Mqtt, 1883),
            "mqtts" => (Scheme::Mqtts, 8883),
            "ws" => (Scheme::Ws, 80),
            "wss" => (Scheme::Wss, 443),
            other => return Err(wrong(&format!("has the scheme {other:?}"))),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (login, address) =
            authority.rsplit_once('@').map_or((None, authority), |(login, address)| (Some(login), address));
        let (host, port) = split_address(address, default_port).ok_or_else(|| wrong("has no usable host and port"))?;
        let (username, password) = match login {
            None => (None, None),
            Some(login) => {
                let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
                let decode =
                    |text: &str| percent_decode(text).ok_or_else(|| wrong("has a broken %-escape in its login"));
                (Some(decode(user)?), password.map(decode).transpose()?.map(Password))
            }
        };
        if path.len() > 1 && matches!(scheme, Scheme::Mqtt | Scheme::Mqtts) {
            return Err(wrong("has a path, which only a WebSocket has"));
        }
        Ok(Self {
            scheme,
            host,
            port,
            path: if path.is_empty() { "/mqtt".to_owned() } else { path.to_owned() },
            protocol: Protocol::V5,
            client_id: format!("switchboard-{:032x}", rand::random::<u128>()),
            username,
            password,
            keep_alive: Duration::from_secs(30),
            session_expiry: Duration::from_secs(60),
            tls: TlsFiles::default(),
            connect_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(2),
            max_incoming: 1 << 20,
            max_inflight: 1000,
            queue: 4096,
            reader_queue: 1024,
            linger: Duration::from_secs(30),
            filters_per_subscribe: 64,
            subscribe_qos: Qos::AtLeastOnce,
        })
    }

    /// Host and port, for messages: never the login.
    pub fn broker(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// With every number that would stop the agent or make it spin, or that MQTT cannot carry, at the nearest that works.
    pub(crate) fn bounded(mut self) -> Self {
        self.keep_alive = self.keep_alive.clamp(Duration::from_secs(1), Duration::from_secs(u16::MAX.into()));
        self.backoff_min = self.backoff_min.max(Duration::from_millis(1));
        self.backoff_max = self.backoff_max.max(self.backoff_min);
        self.max_incoming = self.max_incoming.max(1024);
        // Of 65,535 packet ids some are left to subscriptions.
        self.max_inflight = self.max_inflight.clamp(1, 60_000);
        self.queue = self.queue.max(1);
        self.reader_queue = self.reader_queue.max(1);
        self.filters_per_subscribe = self.filters_per_subscribe.max(1);
        self
    }
}

fn split_address(address: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => address.rsplit_once(':').map_or((address, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default_port), |port| port.parse().ok().filter(|port| *port > 0))?;
    (!host.is_empty() && (address.starts_with('[') || !host.contains(':'))).then(|| (host.to_owned(), port))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_as_whom() {
        let options = Options::new("mqtts://me:p%40ss@broker.example:1234").unwrap();
        assert_eq!((options.scheme, options.broker().as_str()), (Scheme::Mqtts, "broker.example:1234"));
        assert_eq!((options.username.as_deref(), options.password.as_ref().unwrap().reveal()), (Some("me"), "p@ss"));
        assert!(!format!("{options:?}").contains("p@ss"), "a password in Debug");
        assert_eq!(Options::new("mqtt://[::1]").unwrap().broker(), "[::1]:1883");
        let socket = Options::new("wss://h/some/path").unwrap();
        assert_eq!((socket.port, socket.path.as_str()), (443, "/some/path"));
    }

    #[test]
    fn a_url_that_is_none_is_an_error_without_its_secret() {
        for bad in [
            "broker",
            "http://x",
            "mqtt://",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://u:secret%zz@h",
            "mqtt://h/path",
            "mqtt://::1",
            "mqtt://[::1]x",
        ] {
            let error = Options::new(bad).unwrap_err().to_string();
            assert!(error.contains("mqtt://host:1883") && !error.contains("secret"), "{error}");
        }
    }
}
