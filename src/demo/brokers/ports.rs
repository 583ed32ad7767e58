//! Free ports on 127.0.0.1, below the range from which the kernel takes its own for outgoing connections.

use super::Error;
use std::net::{Ipv4Addr, TcpListener};

// Linux hands out 32768 and up to clients: a port from there can be taken between two starts of one broker.
const RANGE: (u16, u16) = (20_000, 32_000);
const TRIES: usize = 200;

/// As many different free ports as asked for.
///
/// Nothing reserves them: whoever binds one first has it.
///
/// # Errors
/// Two hundred random ports were all taken.
pub fn free<const N: usize>() -> Result<[u16; N], Error> {
    let mut found = Vec::with_capacity(N);
    for _ in 0..TRIES {
        let port = rand::random_range(RANGE.0..=RANGE.1);
        if !found.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            found.push(port);
        }
        if let Ok(ports) = found.as_slice().try_into() {
            return Ok(ports);
        }
    }
    Err(Error::NoPort { range: RANGE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let ports: [u16; 5] = free().unwrap();
        let bound: Vec<TcpListener> =
            ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).unwrap()).collect();
        assert_eq!(bound.len(), 5);
        assert!(ports.iter().all(|port| (RANGE.0..=RANGE.1).contains(port)));
    }
}
