//! What goes into the MQTT payload: the job's own, its text, or a JSON document around it.

use super::Invalid;
use super::slot::{IN_PAYLOAD, Slot, Text, Values};
use crate::job::Payload;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use toml::Value;

/// The member name that stands for all members of the job's payload.
const SPREAD: &str = "...";

/// How the MQTT payload is made.
#[derive(Debug)]
pub(super) enum Body {
    /// The job's payload as it is.
    Raw,
    /// The same, but a JSON string as the text that it means.
    Text,
    /// A JSON document with gaps.
    Json(Node),
}

/// A JSON document with gaps.
#[derive(Debug)]
pub(super) enum Node {
    /// Finished JSON text.
    Literal(String),
    /// A string with placeholders; a placeholder alone may be a number or any JSON.
    Text(Text),
    Array(Vec<Node>),
    /// Members in order, and whether those of the job's payload come first.
    Object {
        spread: bool,
        members: Vec<(String, Node)>,
    },
}

impl Node {
    /// Reads the template out of its TOML form.
    pub(super) fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) if !text.contains(['{', '}']) => Self::Literal(quoted(text)),
            Value::String(text) => {
                let text = Text::parse(text, IN_PAYLOAD)?;
                if text.has(Slot::Payload) && text.alone().is_none() {
                    return Err("has {payload} within a longer text; \"{payload}\" alone is right".to_owned());
                }
                Self::Text(text)
            }
            Value::Integer(number) => Self::Literal(number.to_string()),
            Value::Boolean(flag) => Self::Literal(flag.to_string()),
            Value::Float(number) if number.is_finite() => Self::Literal(number.to_string()),
            Value::Float(_) | Value::Datetime(_) => {
                return Err(
                    "has a value that JSON does not have; text, a number, true, false, a list or a table is right"
                        .to_owned(),
                );
            }
            Value::Array(items) => Self::Array(items.iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Table(table) => {
                let spread = match table.get(SPREAD) {
                    None => false,
                    Some(Value::String(text)) if text == "{payload}" => true,
                    Some(_) => {
                        return Err("has the member \"...\" with a value; \"{payload}\" is right there".to_owned());
                    }
                };
                let members = table.iter().filter(|(name, _)| *name != SPREAD);
                let members = members.map(|(name, value)| Ok::<_, String>((quoted(name), Self::parse(value)?)));
                Self::Object { spread, members: members.collect::<Result<_, _>>()? }
            }
        })
    }

    /// Whether this placeholder stands somewhere in it.
    pub(super) fn has(&self, slot: Slot) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Text(text) => text.has(slot),
            Self::Array(items) => items.iter().any(|item| item.has(slot)),
            Self::Object { members, .. } => members.iter().any(|(_, value)| value.has(slot)),
        }
    }

    /// Where this placeholder stands alone, as the tokens of a JSON pointer.
    pub(super) fn place(&self, slot: Slot) -> Option<Vec<String>> {
        let under = |token: String, node: &Self| {
            let inner = node.place(slot)?;
            Some(std::iter::once(token).chain(inner).collect())
        };
        match self {
            Self::Text(text) if text.alone() == Some(slot) => Some(Vec::new()),
            Self::Literal(_) | Self::Text(_) => None,
            Self::Array(items) => items.iter().enumerate().find_map(|(index, item)| under(index.to_string(), item)),
            Self::Object { members, .. } => {
                members.iter().find_map(|(name, node)| under(serde_json::from_str(name).ok()?, node))
            }
        }
    }

    /// Appends the document; false, and nothing appended, where the command has no value for it.
    fn write(&self, values: &Values<'_>, payload: &Payload, out: &mut String) -> Result<bool, Invalid> {
        match self {
            Self::Literal(text) => out.push_str(text),
            Self::Text(text) => match text.alone() {
                Some(Slot::Payload) => return write_payload(payload, out),
                Some(number @ (Slot::Seq | Slot::ExpiresAtMs)) => return Ok(values.write(number, out)),
                _ => match text.render(values) {
                    Some(text) => out.push_str(&quoted(&text)),
                    None => return Ok(false),
                },
            },
            Self::Array(items) => {
                out.push('[');
                let mut separator = Separator::default();
                for item in items {
                    separator.between(out, |out| item.write(values, payload, out))?;
                }
                out.push(']');
            }
            Self::Object { spread, members } => {
                out.push('{');
                let mut separator = Separator::default();
                if *spread {
                    separator.between(out, |out| write_members(payload, out))?;
                }
                for (name, value) in members {
                    separator.between(out, |out| {
                        out.push_str(name);
                        out.push(':');
                        value.write(values, payload, out)
                    })?;
                }
                out.push('}');
            }
        }
        Ok(true)
    }
}

/// Puts commas between the items that turn out to be there.
#[derive(Default)]
struct Separator {
    wanted: bool,
}

impl Separator {
    fn between(
        &mut self,
        out: &mut String,
        item: impl FnOnce(&mut String) -> Result<bool, Invalid>,
    ) -> Result<(), Invalid> {
        let start = out.len();
        if self.wanted {
            out.push(',');
        }
        if item(out)? {
            self.wanted = true;
        } else {
            out.truncate(start);
        }
        Ok(())
    }
}

impl Body {
    /// The MQTT payload of a command.
    pub(super) fn render(&self, values: &Values<'_>, payload: &Payload) -> Result<Bytes, Invalid> {
        match (self, payload) {
            (Self::Raw | Self::Text, Payload::Empty) => Ok(Bytes::new()),
            (Self::Raw | Self::Text, Payload::Bytes(bytes)) | (Self::Raw, Payload::Json(bytes)) => Ok(bytes.clone()),
            (Self::Text, Payload::Json(json)) => Ok(match serde_json::from_slice::<String>(json) {
                Ok(text) => Bytes::from(text),
                Err(_) => json.clone(),
            }),
            (Self::Json(node), _) => {
                let mut out = String::with_capacity(192);
                node.write(values, payload, &mut out)?;
                Ok(Bytes::from(out))
            }
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_payload(payload: &Payload, out: &mut String) -> Result<bool, Invalid> {
    match payload {
        Payload::Empty => return Ok(false),
        Payload::Json(json) => out.push_str(utf8(json)?),
        Payload::Bytes(bytes) => {
            out.push_str("{\"$base64\":\"");
            STANDARD.encode_string(bytes, out);
            out.push_str("\"}");
        }
    }
    Ok(true)
}

fn write_members(payload: &Payload, out: &mut String) -> Result<bool, Invalid> {
    let members = match payload {
        Payload::Empty => return Ok(false),
        Payload::Json(json) => utf8(json)?.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')),
        Payload::Bytes(_) => None,
    };
    let invalid = || invalid("payload is no JSON object; this profile adds members to it, so an object is right");
    let members = members.ok_or_else(invalid)?.trim();
    out.push_str(members);
    Ok(!members.is_empty())
}

fn utf8(json: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(json).map_err(|_| invalid("payload is no UTF-8; JSON text in UTF-8 is right"))
}

fn invalid(message: &str) -> Invalid {
    Invalid { field: "payload", message: message.to_owned() }
}
