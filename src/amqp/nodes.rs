//! Broker addresses as kombu reads them, so that a Celery application's `broker_url` means the same here.
//!
//! An empty path and `/` are the virtual host `/`. Several addresses stand in a row with `;` between them, and are tried in
//! turn. A later one that names no port or virtual host has that of the one before; one that is a host and no more has
//! everything of the first.

use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};

use super::Error;

/// Bytes of a frame, unless an address says otherwise (`frame_max`; 0 is whatever the broker offers): what RabbitMQ offers
/// unless it is told otherwise. lapin keeps 64 frames per connection. Said beforehand, they are memory that is only touched
/// where bytes came by, and a broker that offers more, or has no bound, does not decide what a worker needs.
pub(super) const FRAME_MAX: u32 = 128 * 1024;

/// Reads one or more addresses; at least one is returned. The error never repeats any, since they hold passwords.
pub(super) fn parse(url: &str, heartbeat: Duration) -> Result<Vec<AMQPUri>, Error> {
    let mut nodes: Vec<AMQPUri> = Vec::new();
    // What was written out last.
    let (mut port, mut vhost) = (None, None);
    for entry in url.split(';') {
        let node = match (entry.split_once("://"), nodes.first()) {
            (None, Some(first)) => beside(first, entry)?,
            _ => {
                let (mut node, written) = alone(entry)?;
                port = written.port.or(port);
                vhost = written.vhost.or(vhost);
                node.authority.port = port.unwrap_or(node.authority.port);
                node.vhost = vhost.clone().unwrap_or_else(|| "/".to_owned());
                let seconds = u16::try_from(heartbeat.as_secs()).unwrap_or(u16::MAX).max(1);
                node.query.heartbeat.get_or_insert(seconds);
                node.query.frame_max.get_or_insert(FRAME_MAX);
                node
            }
        };
        nodes.push(node);
    }
    Ok(nodes)
}

/// Where an address leads, or the first of several, for whoever shows it. No password is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The broker's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The virtual host.
    pub vhost: String,
    /// Our login.
    pub user: String,
    /// Whether TLS is spoken.
    pub tls: bool,
}

impl Place {
    /// Reads it off an address.
    ///
    /// # Errors
    /// [`Error::Url`], which shows no password.
    pub fn of(url: &str) -> Result<Self, Error> {
        let uri = parse(url, Duration::ZERO)?.swap_remove(0);
        Ok(Self {
            host: uri.authority.host,
            port: uri.authority.port,
            vhost: uri.vhost,
            user: uri.authority.userinfo.username,
            tls: uri.scheme == AMQPScheme::AMQPS,
        })
    }
}

/// Host and port, for people.
pub(super) fn shown(node: &AMQPUri) -> String {
    let (host, port) = (&node.authority.host, node.authority.port);
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What an address says in so many words.
struct Written {
    port: Option<u16>,
    vhost: Option<String>,
}

/// A whole address.
fn alone(entry: &str) -> Result<(AMQPUri, Written), Error> {
    // kombu's name for its client of choice.
    let plain = entry.strip_prefix("py").filter(|rest| rest.starts_with("amqp://")).unwrap_or(entry);
    let mut node: AMQPUri = plain.parse().map_err(|problem: String| match problem.contains(plain) {
        true => Error::Url("it has no host".to_owned()),
        false => Error::Url(problem),
    })?;
    let rest = plain.split_once("://").map_or("", |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = host_and_port(authority.rsplit_once('@').map_or(authority, |(_, host)| host));
    // The parser reads a bracketed IPv6 host as "no host" and would silently connect to localhost.
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        node.authority.host = address.to_owned();
    }
    let vhost = (!path.is_empty()).then(|| node.vhost.clone());
    Ok((node, Written { port: port.and_then(|port| port.parse().ok()), vhost }))
}

/// A host, with or without a port, beside the first address.
fn beside(first: &AMQPUri, entry: &str) -> Result<AMQPUri, Error> {
    let (host, port) = host_and_port(entry);
    if host.is_empty() || host.contains(['/', '@', '?', '#']) {
        return Err(Error::Url("after a ';' it has neither an address nor a host".to_owned()));
    }
    let mut node = first.clone();
    node.authority.host = host.trim_matches(['[', ']']).to_owned();
    if let Some(port) = port {
        node.authority.port = port.parse().map_err(|_| Error::Url("after a ';' it has a wrong port".to_owned()))?;
    }
    Ok(node)
}

/// The colons of an IPv6 address in brackets belong to the host.
fn host_and_port(text: &str) -> (&str, Option<&str>) {
    let after_brackets = text.rfind(']').map_or(0, |at| at + 1);
    match text[after_brackets..].find(':') {
        Some(at) => (&text[..after_brackets + at], Some(&text[after_brackets + at + 1..])),
        None => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::uri::AMQPScheme;

    const BEAT: Duration = Duration::from_secs(10);

    fn read(url: &str) -> Vec<AMQPUri> {
        parse(url, BEAT).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// Of each node: scheme, address, user, password, virtual host.
    fn told(url: &str) -> Vec<String> {
        let tell = |node: &AMQPUri| {
            let (user, scheme) =
                (&node.authority.userinfo, if node.scheme == AMQPScheme::AMQPS { "amqps" } else { "amqp" });
            format!("{scheme} {} {}:{} {}", shown(node), user.username, user.password, node.vhost)
        };
        read(url).iter().map(tell).collect()
    }

    #[test]
    fn the_url_gives_host_virtual_host_and_heartbeat() {
        let node = &read("amqps://u:p%40ss@broker.example/%2fjobs?heartbeat=7")[0];
        assert_eq!((node.vhost.as_str(), node.query.heartbeat), ("/jobs", Some(7)));
        assert_eq!(
            told("amqps://u:p%40ss@broker.example/%2fjobs?heartbeat=7"),
            ["amqps broker.example:5671 u:p@ss /jobs"]
        );
        assert_eq!(read("amqp://h")[0].query.heartbeat, Some(10));
    }

    // Each of these was read so by kombu 5.7, where it names a port at all.
    #[test]
    fn an_empty_path_a_slash_and_two_are_the_virtual_host_slash() {
        for url in [
            "amqp://h",
            "amqp://h/",
            "amqp://h//",
            "amqp://h/%2f",
            "amqp://h/%2F",
            "pyamqp://h/",
            "amqp://h/?heartbeat=3",
        ] {
            assert_eq!(told(url), ["amqp h:5672 guest:guest /"], "{url}");
        }
        assert_eq!(told("pyamqp://u:p@h:5/jobs"), ["amqp h:5 u:p jobs"]);
        assert_eq!(told("amqp://u@h//jobs"), ["amqp h:5672 u:guest /jobs"]);
    }

    #[test]
    fn what_a_later_address_does_not_say_is_as_before_but_never_its_user() {
        assert_eq!(told("amqp://u:p@a:5673/v;amqp://b"), ["amqp a:5673 u:p v", "amqp b:5673 guest:guest v"]);
        assert_eq!(
            told("amqp://u:p@a:5673/v;b;amqps://x:y@c/w"),
            ["amqp a:5673 u:p v", "amqp b:5673 u:p v", "amqps c:5673 x:y w"]
        );
        assert_eq!(told("amqp://u:p@a/v;amqp://b/"), ["amqp a:5672 u:p v", "amqp b:5672 guest:guest v"]);
        assert_eq!(
            told("amqp://a/v;amqp://b/w;[::1]:7"),
            ["amqp a:5672 guest:guest v", "amqp b:5672 guest:guest w", "amqp [::1]:7 guest:guest v"]
        );
        assert_eq!(told("amqp://a/v;amqp://b/%2f"), ["amqp a:5672 guest:guest v", "amqp b:5672 guest:guest /"]);
    }

    #[test]
    fn an_ipv6_host_is_not_taken_for_localhost() {
        assert_eq!(told("amqp://u:p@[2001:db8::1]:5673/x"), ["amqp [2001:db8::1]:5673 u:p x"]);
        assert_eq!(read("amqp://[::1]")[0].authority.host, "::1");
    }

    #[test]
    fn an_error_about_the_url_never_repeats_the_password() {
        for url in [
            "amqp:u:secret",
            "http://u:secret@h",
            "amqp://u:secret@h:99999/",
            "u:secret@h",
            "amqp://h;u:secret@h",
            "amqp://h;http://u:secret@h",
            "amqp://u:1;secret@h",
            "amqp://h;",
            "amqp://h;b:secret",
        ] {
            let error = parse(url, BEAT).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
