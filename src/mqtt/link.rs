//! MQTT packets to bytes and back over one connection: the only file that names rumqttc.
//!
//! Of rumqttc it takes the codecs and packet types of both protocol versions, not the event loop. The event loop drops
//! what it holds when a connection ends, resends what nobody asked it to, stops everything on a packet-id collision,
//! writes each publish by itself, and never says which bytes have left; each of these would make an outcome a guess.

use super::frames::{Frame, Frames, Turn, broken};
use super::message::{Message, Properties, Qos};
use super::options::{Options, Protocol};
use super::packet::{Accepted, Incoming, Outgoing};
use super::publication::Publication;
use super::transport::Stream;
use crate::topic::TopicFilter;
use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5;
use rumqttc::{QoS as QosV4, mqttbytes as v4};
use std::io;

/// One connection, spoken in one version of the protocol.
pub(crate) struct Link {
    frames: Frames,
    protocol: Protocol,
}

/// The largest packet that MQTT can express: 268,435,455 bytes after a header of five.
const LARGEST_PACKET: usize = 268_435_460;

impl Link {
    pub(crate) fn new(stream: Box<dyn Stream>, options: &Options) -> Self {
        Self { frames: Frames::new(stream, options.max_incoming), protocol: options.protocol }
    }

    /// Bytes that the socket has taken since the connection began.
    pub(crate) fn written(&self) -> u64 {
        self.frames.written()
    }

    /// Writes and reads what it can; returns as soon as either did something. Cancel-safe: all progress is kept in `self`.
    pub(crate) async fn turn(&mut self) -> io::Result<Turn> {
        self.frames.turn().await
    }

    /// Throws away what has been read.
    pub(crate) fn discard_input(&mut self) {
        self.frames.discard_input();
    }

    /// The next packet that has come whole; `None` until more is read.
    pub(crate) fn decode(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            let incoming = match self.frames.next()? {
                None => return Ok(None),
                Some(Frame::Oversized { pkid, size }) => return Ok(Some(Incoming::Oversized { pkid, size })),
                Some(Frame::Packet(packet)) => match self.protocol {
                    Protocol::V5 => decode_v5(packet)?,
                    Protocol::V311 => decode_v4(packet)?,
                },
            };
            if incoming.is_some() {
                return Ok(incoming);
            }
        }
    }

    /// CONNECT.
    pub(crate) fn connect(&mut self, options: &Options, resume: bool) {
        let password = options.password.as_ref().map_or("", |password| password.reveal());
        let keep_alive = u16::try_from(options.keep_alive.as_secs().max(1)).unwrap_or(u16::MAX);
        match self.protocol {
            Protocol::V5 => {
                let properties = v5::ConnectProperties {
                    session_expiry_interval: Some(u32::try_from(options.session_expiry.as_secs()).unwrap_or(u32::MAX)),
                    receive_maximum: Some(u16::MAX),
                    max_packet_size: u32::try_from(options.max_incoming).ok(),
                    // An alias would arrive as an empty topic.
                    topic_alias_max: None,
                    request_problem_info: Some(1),
                    ..v5::ConnectProperties::new()
                };
                let connect = v5::Connect {
                    keep_alive,
                    client_id: options.client_id.clone(),
                    clean_start: !resume,
                    properties: Some(properties),
                };
                let login = options.username.as_ref().map(|user| v5::Login::new(user.clone(), password));
                self.put_v5(&v5::Packet::Connect(connect, None, login));
            }
            Protocol::V311 => {
                let mut connect = rumqttc::Connect::new(options.client_id.clone());
                // 3.1.1 has no expiry: a kept session of an id that never comes back would fill the broker.
                (connect.keep_alive, connect.clean_session) = (keep_alive, true);
                if let Some(user) = &options.username {
                    connect.set_login(user.clone(), password);
                }
                self.put_v4(&rumqttc::Packet::Connect(connect));
            }
        }
    }

    /// DISCONNECT; the session ends with it.
    pub(crate) fn disconnect(&mut self) {
        match self.protocol {
            Protocol::V5 => {
                let properties = v5::DisconnectProperties {
                    session_expiry_interval: Some(0),
                    reason_string: None,
                    user_properties: Vec::new(),
                    server_reference: None,
                };
                let reason_code = v5::DisconnectReasonCode::NormalDisconnection;
                self.put_v5(&v5::Packet::Disconnect(v5::Disconnect { reason_code, properties: Some(properties) }));
            }
            Protocol::V311 => self.put_v4(&rumqttc::Packet::Disconnect),
        }
    }

    fn put_v5(&mut self, packet: &v5::Packet) {
        self.frames.put(|output| packet.write(output, None));
    }

    fn put_v4(&mut self, packet: &rumqttc::Packet) {
        self.frames.put(|output| packet.write(output, usize::MAX));
    }
}

impl Outgoing for Link {
    fn publish(&mut self, pkid: u16, publication: &Publication, expiry_seconds: Option<u32>) {
        let topic = publication.topic.as_str();
        match self.protocol {
            Protocol::V5 => {
                let given = publication.properties.as_deref();
                let properties = (given.is_some() || expiry_seconds.is_some()).then(|| v5::PublishProperties {
                    message_expiry_interval: expiry_seconds,
                    response_topic: given.and_then(|p| p.response_topic.clone()),
                    correlation_data: given.and_then(|p| p.correlation.clone()),
                    content_type: given.and_then(|p| p.content_type.clone()),
                    user_properties: given.map(|p| p.user.clone()).unwrap_or_default(),
                    ..v5::PublishProperties::default()
                });
                let packet = v5::Publish {
                    dup: false,
                    qos: if pkid == 0 {
                        rumqttc::v5::mqttbytes::QoS::AtMostOnce
                    } else {
                        rumqttc::v5::mqttbytes::QoS::AtLeastOnce
                    },
                    retain: publication.retain,
                    topic: Bytes::copy_from_slice(topic.as_bytes()),
                    pkid,
                    payload: publication.payload.clone(),
                    properties,
                };
                self.frames.put(|output| packet.write(output));
            }
            Protocol::V311 => {
                let qos = if pkid == 0 { QosV4::AtMostOnce } else { QosV4::AtLeastOnce };
                let mut packet = rumqttc::Publish::from_bytes(topic, qos, publication.payload.clone());
                (packet.pkid, packet.retain) = (pkid, publication.retain);
                self.frames.put(|output| packet.write(output));
            }
        }
    }

    fn puback(&mut self, pkid: u16) {
        match self.protocol {
            Protocol::V5 => self.frames.put(|output| v5::PubAck::new(pkid, None).write(output)),
            Protocol::V311 => self.frames.put(|output| rumqttc::PubAck::new(pkid).write(output)),
        }
    }

    fn subscribe(&mut self, pkid: u16, filters: &[&TopicFilter], qos: Qos, id: Option<u32>) {
        match self.protocol {
            Protocol::V5 => {
                let filters = filters.iter().map(|filter| v5::Filter {
                    // Kept messages are never answers to a request that was made after them; a retained status is wanted
                    // once, when the filter is new.
                    retain_forward_rule: v5::RetainForwardRule::OnNewSubscribe,
                    ..v5::Filter::new(filter.as_str(), to_v5(qos))
                });
                let properties =
                    id.map(|id| v5::SubscribeProperties { id: Some(id as usize), user_properties: Vec::new() });
                let mut packet = v5::Subscribe::new_many(filters, properties);
                packet.pkid = pkid;
                self.put_v5(&v5::Packet::Subscribe(packet));
            }
            Protocol::V311 => {
                let filters =
                    filters.iter().map(|filter| rumqttc::SubscribeFilter::new(filter.to_string(), to_v4(qos)));
                let mut packet = rumqttc::Subscribe::new_many(filters);
                packet.pkid = pkid;
                self.put_v4(&rumqttc::Packet::Subscribe(packet));
            }
        }
    }

    fn unsubscribe(&mut self, pkid: u16, filters: &[&TopicFilter]) {
        let filters: Vec<String> = filters.iter().map(|filter| filter.to_string()).collect();
        match self.protocol {
            Protocol::V5 => self.put_v5(&v5::Packet::Unsubscribe(v5::Unsubscribe { pkid, filters, properties: None })),
            Protocol::V311 => {
                let mut packet = rumqttc::Unsubscribe::new("");
                (packet.pkid, packet.topics) = (pkid, filters);
                self.put_v4(&rumqttc::Packet::Unsubscribe(packet));
            }
        }
    }

    fn ping(&mut self) {
        match self.protocol {
            Protocol::V5 => self.put_v5(&v5::Packet::PingReq(v5::PingReq)),
            Protocol::V311 => self.put_v4(&rumqttc::Packet::PingReq),
        }
    }

    fn position(&self) -> u64 {
        self.frames.position()
    }

    fn is_full(&self) -> bool {
        self.frames.is_full()
    }
}

fn to_v5(qos: Qos) -> rumqttc::v5::mqttbytes::QoS {
    match qos {
        Qos::AtMostOnce => rumqttc::v5::mqttbytes::QoS::AtMostOnce,
        Qos::AtLeastOnce => rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
    }
}

fn to_v4(qos: Qos) -> QosV4 {
    match qos {
        Qos::AtMostOnce => QosV4::AtMostOnce,
        Qos::AtLeastOnce => QosV4::AtLeastOnce,
    }
}

/// `None` for a packet that means nothing to a session of QoS 0 and 1.
fn decode_v5(mut packet: BytesMut) -> io::Result<Option<Incoming>> {
    match (packet[0] >> 4, &packet[1..]) {
        // DISCONNECT without properties, or without a reason too: the codec takes neither (MQTT 5.0, section 3.14.2.1).
        (14, [0]) => return Ok(Some(Incoming::Disconnect { code: 0, reason: "no reason given".to_owned() })),
        (14, [1, code]) => {
            let reason = v5::DisconnectReasonCode::try_from(*code)
                .map_or_else(|_| format!("0x{code:02X}"), |known| format!("{known:?}"));
            return Ok(Some(Incoming::Disconnect { code: *code, reason }));
        }
        // A CONNACK of 3.1.1, which is how a broker of that version refuses MQTT 5.
        (2, [2, _, code]) if *code != 0 => {
            let reason = format!("it answered with the return code {code} of MQTT 3.1.1; it may not speak MQTT 5");
            return Ok(Some(Incoming::Rejected { code: *code, reason }));
        }
        _ => {}
    }
    // The codec says "insufficient bytes" of a whole packet whose inner lengths lie; that is an error here, not a pause.
    Ok(Some(match v5::Packet::read(&mut packet, None).map_err(broken)? {
        v5::Packet::Publish(publish) => {
            let qos = Qos::from(publish.qos as u8);
            let (properties, ids) = match publish.properties {
                None => (None, Vec::new()),
                Some(p) => {
                    let properties = Properties {
                        response_topic: p.response_topic,
                        correlation: p.correlation_data,
                        content_type: p.content_type,
                        user: p.user_properties,
                    };
                    let ids = p.subscription_identifiers.into_iter().filter_map(|id| u32::try_from(id).ok()).collect();
                    ((properties != Properties::default()).then(|| Box::new(properties)), ids)
                }
            };
            let message = Message::new(publish.topic, publish.payload, qos, publish.retain, properties);
            let message = message.ok_or_else(|| broken("a message whose topic is empty or no UTF-8"))?;
            Incoming::Publish { message, pkid: publish.pkid, dup: publish.dup, subscription_ids: ids }
        }
        v5::Packet::ConnAck(ack) if ack.code == v5::ConnectReturnCode::Success => {
            let p = ack.properties;
            let p = p.as_ref();
            Incoming::Accepted(Accepted {
                session_present: ack.session_present,
                // 0 is forbidden for both (sections 3.2.2.3.3 and 3.2.2.3.6); as a limit it would let nothing through for ever.
                receive_maximum: p.and_then(|p| p.receive_max).filter(|most| *most > 0).unwrap_or(u16::MAX),
                max_packet: p
                    .and_then(|p| p.max_packet_size)
                    .filter(|size| *size > 0)
                    .map_or(LARGEST_PACKET, |size| size as usize)
                    .min(LARGEST_PACKET),
                max_qos: p.and_then(|p| p.max_qos).map_or(Qos::AtLeastOnce, Qos::from),
                retain: p.and_then(|p| p.retain_available) != Some(0),
                keep_alive: p.and_then(|p| p.server_keep_alive),
                subscription_ids: p.and_then(|p| p.subscription_identifiers_available) != Some(0),
            })
        }
        v5::Packet::ConnAck(ack) => {
            let said = ack.properties.and_then(|p| p.reason_string).map(|said| format!(": {said}")).unwrap_or_default();
            Incoming::Rejected { code: 0x80, reason: format!("{:?}{said}", ack.code) }
        }
        v5::Packet::PubAck(ack) => {
            let said = ack.properties.and_then(|p| p.reason_string).map(|said| format!(": {said}")).unwrap_or_default();
            let code = puback_code(ack.reason);
            let reason = if code < 0x80 { String::new() } else { format!("{:?}{said}", ack.reason) };
            Incoming::PubAck { pkid: ack.pkid, code, reason }
        }
        v5::Packet::SubAck(ack) => {
            let grant = |code: &v5::SubscribeReasonCode| match code {
                v5::SubscribeReasonCode::Success(qos) => Ok(Qos::from(*qos as u8)),
                refused => Err((suback_code(*refused), format!("{refused:?}"))),
            };
            Incoming::SubAck { pkid: ack.pkid, grants: ack.return_codes.iter().map(grant).collect() }
        }
        v5::Packet::UnsubAck(ack) => Incoming::UnsubAck { pkid: ack.pkid },
        v5::Packet::PingResp(_) => Incoming::Pong,
        v5::Packet::Disconnect(disconnect) => {
            let said =
                disconnect.properties.and_then(|p| p.reason_string).map(|said| format!(": {said}")).unwrap_or_default();
            Incoming::Disconnect {
                code: disconnect.reason_code as u8,
                reason: format!("{:?}{said}", disconnect.reason_code),
            }
        }
        _ => return Ok(None),
    }))
}

fn decode_v4(mut packet: BytesMut) -> io::Result<Option<Incoming>> {
    let size = packet.len();
    Ok(Some(match rumqttc::Packet::read(&mut packet, size).map_err(broken)? {
        rumqttc::Packet::Publish(publish) => {
            let (topic, qos) = (Bytes::from(publish.topic), Qos::from(publish.qos as u8));
            let message = Message::new(topic, publish.payload, qos, publish.retain, None);
            let message = message.ok_or_else(|| broken("a message whose topic is empty or no UTF-8"))?;
            Incoming::Publish { message, pkid: publish.pkid, dup: publish.dup, subscription_ids: Vec::new() }
        }
        rumqttc::Packet::ConnAck(ack) if ack.code == v4::v4::ConnectReturnCode::Success => {
            Incoming::Accepted(Accepted {
                session_present: ack.session_present,
                receive_maximum: u16::MAX,
                max_packet: LARGEST_PACKET,
                max_qos: Qos::AtLeastOnce,
                retain: true,
                keep_alive: None,
                subscription_ids: false,
            })
        }
        rumqttc::Packet::ConnAck(ack) => Incoming::Rejected { code: 0x80, reason: format!("{:?}", ack.code) },
        rumqttc::Packet::PubAck(ack) => Incoming::PubAck { pkid: ack.pkid, code: 0, reason: String::new() },
        rumqttc::Packet::SubAck(ack) => {
            let grant = |code: &rumqttc::SubscribeReasonCode| match code {
                rumqttc::SubscribeReasonCode::Success(qos) => Ok(Qos::from(*qos as u8)),
                rumqttc::SubscribeReasonCode::Failure => Err((0x80, "refused".to_owned())),
            };
            Incoming::SubAck { pkid: ack.pkid, grants: ack.return_codes.iter().map(grant).collect() }
        }
        rumqttc::Packet::UnsubAck(ack) => Incoming::UnsubAck { pkid: ack.pkid },
        rumqttc::Packet::PingResp => Incoming::Pong,
        _ => return Ok(None),
    }))
}

/// MQTT 5.0, section 3.4.2.1.
fn puback_code(reason: v5::PubAckReason) -> u8 {
    use v5::PubAckReason as R;
    match reason {
        R::Success => 0,
        R::NoMatchingSubscribers => 0x10,
        R::UnspecifiedError => 0x80,
        R::ImplementationSpecificError => 0x83,
        R::NotAuthorized => 0x87,
        R::TopicNameInvalid => 0x90,
        R::PacketIdentifierInUse => 0x91,
        R::QuotaExceeded => 0x97,
        R::PayloadFormatInvalid => 0x99,
    }
}

/// MQTT 5.0, section 3.9.3.
fn suback_code(reason: v5::SubscribeReasonCode) -> u8 {
    use v5::SubscribeReasonCode as R;
    match reason {
        R::Success(_) => 0,
        R::Failure | R::Unspecified => 0x80,
        R::ImplementationSpecific => 0x83,
        R::NotAuthorized => 0x87,
        R::TopicFilterInvalid => 0x8F,
        R::PkidInUse => 0x91,
        R::QuotaExceeded => 0x97,
        R::SharedSubscriptionsNotSupported => 0x9E,
        R::SubscriptionIdNotSupported => 0xA1,
        R::WildcardSubscriptionsNotSupported => 0xA2,
    }
}
