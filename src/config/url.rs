//! Broker addresses and secrets, which show themselves to nobody who does not ask for them by name.

use std::fmt;

/// What stands in the place of something secret.
const HIDDEN: &str = "***";

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// An address with scheme and host, or a list of them, checked in form; shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    text: String,
    /// Whether it was read as a list, each part of which can be shown by itself.
    listed: bool,
}

/// Between the addresses of a list.
const BETWEEN: char = ';';

impl Url {
    /// Checks the form and the scheme; the error says what would be right, and shows no password.
    pub fn parse(text: &str, schemes: &[&str]) -> Result<Self, String> {
        match flaw(text, schemes) {
            None => Ok(Self { text: text.to_owned(), listed: false }),
            Some(flaw) => {
                Err(format!("is {:?}, {flaw}; right is an address that begins with {}", redact(text), begin(schemes)))
            }
        }
    }

    /// Checks an address, or several with `;` between them. A later one may be a host, with or without a port, that has the
    /// rest from the first.
    pub fn parse_list(text: &str, schemes: &[&str]) -> Result<Self, String> {
        if !text.contains(BETWEEN) {
            return Self::parse(text, schemes);
        }
        for (index, entry) in text.split(BETWEEN).enumerate() {
            // A part of a password with a ';' in it must not pass for a host, and be shown: the '@' after it tells.
            let flaw = match index > 0 && !entry.contains("://") && !entry.contains(['@', '/', '?', '#']) {
                true => flaw(&format!("{}://{entry}", schemes[0]), schemes),
                false => flaw(entry, schemes),
            };
            if let Some(flaw) = flaw {
                return Err(format!(
                    "is {:?}, a list with an address, number {}, {flaw}; right are addresses with ';' between them, of \
                     which the first begins with {} (in a user name or password a ';' is written %3B)",
                    redact(text),
                    index + 1,
                    begin(schemes)
                ));
            }
        }
        Ok(Self { text: text.to_owned(), listed: true })
    }

    /// Whether it is more than one address.
    pub fn is_list(&self) -> bool {
        self.listed
    }

    /// The whole address, password included, for the one place that connects with it.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The part before `://`.
    pub fn scheme(&self) -> &str {
        self.text.split("://").next().unwrap_or_default()
    }

    /// Whether its scheme is one of those that go over TLS; of a list, any.
    pub fn is_tls(&self) -> bool {
        let mut schemes = self.text.split(BETWEEN).filter_map(|entry| entry.split_once("://"));
        schemes.any(|(scheme, _)| matches!(scheme, "amqps" | "mqtts" | "wss" | "rediss" | "https"))
    }

    /// What follows host and port: empty, or beginning with `/`, `?` or `#`.
    pub fn path(&self) -> &str {
        let rest = self.text.split_once("://").map_or("", |(_, rest)| rest);
        rest.find(['/', '?', '#']).map_or("", |start| &rest[start..])
    }

    /// The user in it, percent-decoded.
    pub fn user(&self) -> Option<String> {
        self.user_info().map(|info| decode(info.split(':').next().unwrap_or_default())).filter(|user| !user.is_empty())
    }

    /// The password in it, percent-decoded.
    pub fn password(&self) -> Option<Secret> {
        self.user_info()?.split_once(':').map(|(_, password)| Secret(decode(password)))
    }

    fn user_info(&self) -> Option<&str> {
        let rest = self.text.split_once("://")?.1;
        let authority = rest.split(['/', '?', '#']).next()?;
        authority.rsplit_once('@').map(|(info, _)| info)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.text.split(BETWEEN);
        match self.listed {
            true => f.write_str(&entries.map(redact).collect::<Vec<_>>().join(";")),
            false => f.write_str(&redact(&self.text)),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

fn begin(schemes: &[&str]) -> String {
    schemes.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(", ")
}

/// What is wrong with one address.
fn flaw(text: &str, schemes: &[&str]) -> Option<&'static str> {
    let Some((scheme, rest)) = text.split_once("://") else { return Some("which has no scheme") };
    if !schemes.contains(&scheme) {
        return Some("whose scheme is not served here");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = split_port(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    if host.is_empty() {
        return Some("which names no host");
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("which has a space or control character in it");
    }
    match port.map(str::parse::<u16>) {
        None | Some(Ok(1..)) => None,
        Some(_) => Some(
            "whose port is no number from 1 to 65535 (in a user name or password, a ':', '/' or '@' is written %3A, %2F, %40)",
        ),
    }
}

/// Any text that might be an address with a password in it, without the password.
///
/// When in doubt it hides too much: everything between the user and the last `@`, and what stands where a port should
/// be and is none.
pub fn redact(text: &str) -> String {
    let start = text.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = text.split_at(start);
    if let Some((info, host)) = rest.rsplit_once('@') {
        return match info.split_once(':') {
            Some((user, _)) => format!("{scheme}{user}:{HIDDEN}@{host}"),
            None => text.to_owned(),
        };
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match split_port(&rest[..end]) {
        (host, Some(port)) if start > 0 && port.parse::<u16>().is_err() => format!("{scheme}{host}:{HIDDEN}"),
        _ => text.to_owned(),
    }
}

/// Host and port; the colons of an IPv6 address in brackets belong to the host.
fn split_port(host: &str) -> (&str, Option<&str>) {
    let after_brackets = host.rfind(']').map_or(0, |at| at + 1);
    match host[after_brackets..].find(':') {
        Some(at) => (&host[..after_brackets + at], Some(&host[after_brackets + at + 1..])),
        None => (host, None),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                rest = &rest[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMQP: &[&str] = &["amqp", "amqps"];

    #[test]
    fn a_password_is_hidden_wherever_it_may_stand() {
        for (text, shown) in [
            ("amqp://guest:canary@h:5672/%2f", "amqp://guest:***@h:5672/%2f"),
            ("amqp://u:can@ar/y@h", "amqp://u:***@h"),
            ("amqp://u:canary", "amqp://u:***"),
            ("u:canary@h", "u:***@h"),
            ("amqp:/u:canary@h", "amqp:***@h"),
            ("amqp://:canary@h", "amqp://:***@h"),
            ("mqtt://[::1]:1883", "mqtt://[::1]:1883"),
            ("mqtt://h:1883/x", "mqtt://h:1883/x"),
            ("amqp://user@h", "amqp://user@h"),
            ("plain text", "plain text"),
        ] {
            assert_eq!(redact(text), shown);
        }
        let url = Url::parse("amqps://u:can%40ary@h/v", AMQP).unwrap();
        assert!(!format!("{url} {url:?} {:?}", url.password()).contains("ary"));
        assert_eq!((url.user().as_deref(), url.password().unwrap().expose()), (Some("u"), "can@ary"));
        assert_eq!((url.scheme(), url.is_tls(), url.path()), ("amqps", true, "/v"));
    }

    #[test]
    fn what_cannot_be_connected_to_is_refused_without_its_password() {
        for bad in [
            "",
            "h:5672",
            "http://h",
            "amqp://",
            "amqp://u:canary@",
            "amqp://h:0",
            "amqp://h:99999",
            "amqp://u:canary",
            "amqp://h:",
            "amqp://u:can ary@h",
        ] {
            let problem = Url::parse(bad, AMQP).unwrap_err();
            assert!(problem.contains("amqp://, amqps://") && !problem.contains("ary"), "{problem}");
        }
        for good in ["amqp://h", "amqps://u:p@h:5671/v?heartbeat=10", "amqp://[::1]:5672", "amqp://[::1]"] {
            assert!(Url::parse(good, AMQP).is_ok(), "{good}");
        }
    }

    #[test]
    fn of_a_list_each_address_is_shown_without_its_password() {
        let list = Url::parse_list("amqp://u:canary@a;amqps://v:canary@b:5671/x;c:5673", AMQP).unwrap();
        assert_eq!(list.to_string(), "amqp://u:***@a;amqps://v:***@b:5671/x;c:5673");
        assert!(list.is_list() && list.is_tls());
        let one = Url::parse_list("amqp://u:canary@h", AMQP).unwrap();
        assert!(!one.is_list() && !one.is_tls());
        for (bad, words) in [
            ("amqp://a;", "number 2, which names no host"),
            (";amqp://a", "number 1, which has no scheme"),
            ("a;amqp://a", "number 1, which has no scheme"),
            ("amqp://u:canary@a;http://u:canary@b", "number 2, whose scheme is not served"),
            ("amqp://a;b:0", "number 2, whose port"),
            ("amqp://u:1;canary@h", "number 2, which has no scheme"),
            ("amqp://u:can;ary@h", "number 1, whose port"),
            ("amqp://u:1;canary;ary@h", "number 3, which has no scheme"),
        ] {
            let problem = Url::parse_list(bad, AMQP).unwrap_err();
            assert!(problem.contains(words) && problem.contains("%3B") && !problem.contains("ary@"), "{problem}");
            assert!(!problem.contains("canary"), "{problem}");
        }
    }
}
