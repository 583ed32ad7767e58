//! Reads the result backend's URL, with the parameters that Celery asks for in it.

use super::Error;
use crate::tls::TlsFiles;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use std::path::PathBuf;

/// Where Redis is, and as whom to log in there.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: Option<TlsFiles>,
    pub(super) login: RedisConnectionInfo,
}

/// Reads the URL. The error never repeats it, since it holds the password.
pub(super) fn parse(url: &str) -> Result<Address, Error> {
    let wrong = |what: &str| Error::Url(what.to_owned());
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    if rest.contains('#') || query.contains('#') {
        return Err(wrong("has a '#' in it (in a user name or password it is written %23)"));
    }
    let tls = match scheme {
        "redis" => None,
        "rediss" => Some(tls_files(query)?),
        _ => return Err(wrong("has a scheme that is not served")),
    };
    // Without its query: what other clients' parameters mean there is not what they mean to this client.
    let info: ConnectionInfo = format!("redis://{rest}").into_connection_info().map_err(|error| {
        // The client's own words about a part of the URL: that part is never the password.
        Error::Url(format!("cannot be read ({})", error.detail().map_or_else(|| error.to_string(), str::to_owned)))
    })?;
    match info.addr() {
        ConnectionAddr::Tcp(host, port) => {
            let (host, port) = (host.clone(), *port);
            Ok(Address { host, port, tls, login: info.redis_settings().clone() })
        }
        _ => Err(wrong("names no host")),
    }
}

/// Celery wants `ssl_cert_reqs` in every `rediss://` URL, and takes files along in it.
fn tls_files(query: &str) -> Result<TlsFiles, Error> {
    let mut files = TlsFiles::default();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let file = || Some(PathBuf::from(decode(value)));
        match name {
            "ssl_ca_certs" => files.ca_file = file(),
            "ssl_certfile" => files.cert_file = file(),
            "ssl_keyfile" => files.key_file = file(),
            "ssl_cert_reqs" if !["CERT_REQUIRED", "required"].contains(&value) => {
                return Err(Error::Url(format!(
                    "has ssl_cert_reqs={value}, and the server's certificate is always checked here; \
                     ssl_cert_reqs=CERT_REQUIRED is right, with ssl_ca_certs=FILE for an authority of your own"
                )));
            }
            _ => {}
        }
    }
    Ok(files)
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = text_after_percent(rest).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &rest[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn text_after_percent(rest: &[u8]) -> Option<&str> {
    match rest {
        [b'%', digits @ ..] if digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit) => {
            std::str::from_utf8(&digits[..2]).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match parse(url) {
            Ok(address) => panic!("{url} was read as {}:{}", address.host, address.port),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_url_gives_host_port_login_and_database() {
        let address = parse("redis://user:p%40ss@cache.example:6380/3?socket_timeout=5").unwrap();
        assert_eq!((address.host.as_str(), address.port, address.login.db()), ("cache.example", 6380, 3));
        assert_eq!((address.login.username(), address.login.password()), (Some("user"), Some("p@ss")));
        let address = parse("redis://:secret@[::1]").unwrap();
        assert_eq!((address.host.as_str(), address.port, address.login.db()), ("::1", 6379, 0));
        assert_eq!((address.login.username(), address.login.password()), (None, Some("secret")));
        assert!(address.tls.is_none());
    }

    #[test]
    fn a_url_with_tls_brings_its_files_and_must_not_switch_the_check_off() {
        let url = "rediss://h/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs=%2Fetc%2Fca.pem&ssl_certfile=c.pem&ssl_keyfile=k.pem";
        let files = parse(url).unwrap().tls.unwrap();
        assert_eq!(files.ca_file, Some("/etc/ca.pem".into()));
        assert_eq!((files.cert_file, files.key_file), (Some("c.pem".into()), Some("k.pem".into())));
        assert_eq!(parse("rediss://h").unwrap().tls, Some(TlsFiles::default()));
        assert!(refused("rediss://h?ssl_cert_reqs=CERT_NONE").contains("ssl_cert_reqs=CERT_NONE"));
    }

    #[test]
    fn what_cannot_be_used_is_named_without_its_password() {
        for (url, words) in [
            ("h:6379", "has no scheme"),
            ("u:canary@h:6379", "has no scheme"),
            ("sentinel://u:canary@h:26379", "scheme that is not served"),
            ("redis://u:canary@h/zero", "Invalid database number"),
            ("redis://u:canary@h:99999/0", "cannot be read"),
            ("redis://u:can#ary@h", "%23"),
            ("redis:///0", "cannot be read"),
        ] {
            let error = refused(url);
            assert!(error.contains(words), "{url}: {error}");
            assert!(!error.contains("canary") && !error.contains("can#"), "{error}");
            assert!(error.contains("redis://USER:PASSWORD@HOST:PORT/DATABASE is right"), "{error}");
        }
    }
}
