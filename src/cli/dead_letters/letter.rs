//! A dead letter as a person names and judges it: its id, its cause, and what its job would be.

use crate::envelope::Envelope;
use crate::job::{Guarantee, Targets};
use crate::wire::dead_letter::{self, Cause};
use crate::wire::native;
use std::sync::Arc;

/// The longest id that is shown as it is; a table has no room for more.
const LONGEST_ID: usize = 40;

/// A message from the dead-letter queue, read.
#[derive(Clone, Debug)]
pub struct Letter {
    /// What it is called: see [`name`].
    pub id: String,
    /// Why it is there.
    pub cause: Cause,
    /// The one device it is for, or how many.
    pub device: Option<String>,
    /// The command, or the name of a Celery task.
    pub command: Option<String>,
    /// What its job says a crash may cost.
    pub guarantee: Option<Guarantee>,
    /// The profile of its job.
    pub profile: Option<Arc<str>>,
    /// When its time is over: milliseconds since the Unix epoch.
    pub end: Option<u64>,
    /// How often it was put back before.
    pub replays: u64,
    /// The message itself.
    pub envelope: Envelope,
}

impl Letter {
    /// Reads any message; what it does not say is absent.
    pub fn read(envelope: Envelope) -> Self {
        let task = envelope.headers.text("task").filter(|_| envelope.headers.text("id").is_some());
        let limits =
            native::Limits { max_payload_bytes: usize::MAX, max_devices: usize::MAX, no_devices: true, repeats: true };
        let own = |text: Arc<str>| text.to_string();
        let (id, device, command, guarantee, profile) = match (task, native::decode(&envelope, &limits)) {
            (Some(task), _) => {
                (envelope.headers.text("id").map(str::to_owned), None, Some(task.to_owned()), None, None)
            }
            (None, Ok(job)) => {
                let device = match &job.targets {
                    Targets::One(device) => device.to_string(),
                    Targets::Many(bulk) => format!("{} devices", bulk.targets.len()),
                };
                // Where the job has no id of its own, the one that was made for it just now is nobody's.
                let id = names_itself(&envelope).then(|| own(job.id));
                (id, Some(device), Some(own(job.command)), job.guarantee, Some(job.profile))
            }
            (None, Err(wrong)) => (wrong.id.map(own), wrong.device.map(own), wrong.command.map(own), None, None),
        };
        Self {
            id: name(&envelope, id.as_deref()),
            cause: Cause::read(&envelope.headers),
            device,
            command,
            guarantee,
            profile,
            end: native::end(&envelope),
            replays: dead_letter::replays(&envelope.headers),
            envelope,
        }
    }
}

fn names_itself(envelope: &Envelope) -> bool {
    serde_json::from_slice::<serde_json::Value>(&envelope.body).is_ok_and(|body| body.get("id").is_some())
}

/// What a letter is called: its `message_id`, else the id of its job or Celery task. One that has neither, or none that
/// can be shown in a table and typed again, is called `~` and a hash.
fn name(envelope: &Envelope, job: Option<&str>) -> String {
    let id = envelope.message_id.as_deref().filter(|id| !id.is_empty()).or(job);
    let usable = |id: &str| {
        let odd = |c: char| c.is_control() || c.is_whitespace();
        !id.is_empty() && id.chars().count() <= LONGEST_ID && !id.contains(odd) && !id.starts_with(['~', '-'])
    };
    match id.filter(|id| usable(id)) {
        Some(id) => id.to_owned(),
        None => format!("~{:012x}", hash(id.unwrap_or_default().as_bytes(), &envelope.body)),
    }
}

/// 48 bits of FNV-1a, over two parts with a byte between them that no UTF-8 has. Written out here, because an id that one
/// version of the program prints is to be understood by the next.
fn hash(id: &[u8], body: &[u8]) -> u64 {
    let bytes = id.iter().chain(&[0xFF]).chain(body);
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Headers;

    fn letter(body: &[u8], message_id: Option<&str>) -> Letter {
        let message_id = message_id.map(str::to_owned);
        Letter::read(Envelope { body: body.to_vec().into(), message_id, ..Envelope::default() })
    }

    #[test]
    fn it_is_called_by_the_message_the_job_the_task_or_its_content() {
        let job = br#"{"id": "job", "device": "d", "command": "c"}"#;
        assert_eq!(letter(job, Some("message")).id, "message");
        assert_eq!(letter(job, Some("")).id, "job");
        assert_eq!(letter(br#"{"id": "job", "colour": 1}"#, None).id, "job");
        let headers = Headers(vec![("task".to_owned(), "t".into()), ("id".to_owned(), "celery-id".into())]);
        let task = Letter::read(Envelope { body: "[[],{},{}]".into(), headers, ..Envelope::default() });
        assert_eq!((&*task.id, task.command.as_deref(), task.device), ("celery-id", Some("t"), None));
        let nameless = letter(br#"{"device": "d", "command": "c"}"#, None);
        assert_eq!(nameless.id, letter(br#"{"device": "d", "command": "c"}"#, None).id, "the same each time");
        assert!(nameless.id.starts_with('~') && nameless.id.len() == 13, "{}", nameless.id);
        assert_eq!(letter(b"\xff\xfe garbage", None).id, "~ea7189adf43c", "known to the next version too");
    }

    #[test]
    fn an_id_that_cannot_be_shown_and_typed_is_replaced() {
        let long = "x".repeat(LONGEST_ID + 1);
        for id in ["~x", "-x", "a b", "a\u{1b}b", &long] {
            let (one, other) = (letter(b"{}", Some(id)).id, letter(b"{}", Some(&format!("{id}!"))).id);
            assert!(one.starts_with('~') && one.len() == 13 && one != other, "{id}: {one}");
        }
    }

    #[test]
    fn what_can_be_read_of_its_job_is_there() {
        let one = letter(br#"{"device": "d", "command": "c", "guarantee": "at_least_once", "profile": "json"}"#, None);
        assert_eq!((one.device.as_deref(), one.command.as_deref()), (Some("d"), Some("c")));
        assert_eq!((one.guarantee, one.profile.as_deref()), (Some(Guarantee::AtLeastOnce), Some("json")));
        assert_eq!(letter(br#"{"devices": ["a", "b"], "command": "c"}"#, None).device.as_deref(), Some("2 devices"));
        let wrong = letter(br#"{"device": "d", "colour": 1}"#, None);
        assert_eq!((wrong.device.as_deref(), wrong.command), (Some("d"), None));
    }
}
