//! An MQTT broker and its devices in one, for tests that break a program between any two of its steps.
//!
//! MQTT 3.1.1 as far as a worker speaks it (OASIS Standard, sections 2 and 3): CONNECT, SUBSCRIBE, PUBLISH at QoS 1, PINGREQ.
//! It has a socket of its own, because the session under test counts the bytes that its socket has taken.

use super::plan::Plan;
use crate::amqp::memory::{Pass, Steps};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A job's id, and its device.
pub(super) type Executed = (String, String);

/// The devices' log: written before anything is answered, and kept over the death of the program.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<Executed>>>);

impl Log {
    pub(super) fn all(&self) -> Vec<Executed> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves one program until its task is dropped; while it is away, it ends each connection.
pub(super) async fn serve(listener: TcpListener, log: Log, plan: Arc<Plan>, mut away: watch::Receiver<bool>) {
    let mut talking = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                if !*away.borrow() {
                    talking.spawn(talk(stream, log.clone(), plan.clone()));
                }
            }
            changed = away.changed() => match changed {
                Ok(()) => talking.shutdown().await,
                Err(_) => return,
            },
        }
    }
}

/// One connection, to its end.
async fn talk(mut stream: TcpStream, log: Log, plan: Arc<Plan>) -> Option<()> {
    loop {
        let (kind, body) = packet(&mut stream).await?;
        match kind >> 4 {
            // CONNECT: CONNACK without a session.
            1 => stream.write_all(&[0x20, 2, 0, 0]).await.ok()?,
            // PUBLISH.
            3 => {
                let (topic, id, payload) = publish(&body)?;
                if topic.contains("/commands/") {
                    command(&mut stream, &log, &plan, topic, id, payload).await?;
                } else {
                    stream.write_all(&[0x40, 2, id[0], id[1]]).await.ok()?;
                }
            }
            // SUBSCRIBE: QoS 1 for every filter.
            8 => {
                let filters = filters(&body[2..]);
                let length = u8::try_from(2 + filters).ok()?;
                let answer = [&[0x90, length, body[0], body[1]], vec![1; filters].as_slice()].concat();
                stream.write_all(&answer).await.ok()?;
            }
            12 => stream.write_all(&[0xD0, 0]).await.ok()?,
            // DISCONNECT.
            14 => return None,
            _ => {}
        }
    }
}

/// A command arrives at its device, which acts, and answers.
async fn command(
    stream: &mut TcpStream,
    log: &Log,
    plan: &Plan,
    topic: &str,
    id: [u8; 2],
    payload: &[u8],
) -> Option<()> {
    let parts: Vec<&str> = topic.split('/').collect();
    let [_, device, _, _, inbox, seq] = parts[..] else { return None };
    let job: Value = serde_json::from_slice(payload).ok()?;
    go(plan, "command")?;
    log.0.lock().unwrap().push((job["job"].as_str()?.to_owned(), device.to_owned()));
    go(plan, "executed")?;
    stream.write_all(&[0x40, 2, id[0], id[1]]).await.ok()?;
    go(plan, "answer")?;
    let topic = format!("devices/{device}/responses/{inbox}/{seq}");
    let text = br#"{"ok":true}"#;
    let length = u8::try_from(2 + topic.len() + text.len()).ok().filter(|length| *length < 128)?;
    let head = [0x30, length, 0, u8::try_from(topic.len()).ok()?];
    stream.write_all(&[&head, topic.as_bytes(), text].concat()).await.ok()?;
    go(plan, "answered")
}

/// `None` where the connection breaks here.
fn go(plan: &Plan, step: &'static str) -> Option<()> {
    (plan.step(step) == Pass::Go).then_some(())
}

async fn packet(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await.ok()?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await.ok()?;
        length |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((kind, body))
}

/// Topic, packet id and payload of a QoS 1 publish.
fn publish(body: &[u8]) -> Option<(&str, [u8; 2], &[u8])> {
    let end = 2 + usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    Some((std::str::from_utf8(body.get(2..end)?).ok()?, [*body.get(end)?, *body.get(end + 1)?], body.get(end + 2..)?))
}

/// How many filters a SUBSCRIBE has after its packet id.
fn filters(mut rest: &[u8]) -> usize {
    let mut count = 0;
    while rest.len() > 2 {
        rest = &rest[3 + usize::from(u16::from_be_bytes([rest[0], rest[1]]))..];
        count += 1;
    }
    count
}
