//! What the mesh sees of a request: its head, and who sent it.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::Workload;

/// Who sends a request.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// A client outside, by the port of the listener it came to, as declared
    /// in the Gateway (not as bound).
    Edge { listener_port: u16 },
    /// A workload of the mesh.
    Workload(&'a Arc<Workload>),
}

/// The head of a request. `path` must have gone through
/// [`crate::normalise_path`]: every match and every policy relies on it.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// `http` or `https`; `tcp` for a server that speaks something else.
    pub scheme: &'a str,
    /// `Host` or `:authority`, with its port where it has one.
    pub authority: &'a str,
    /// Normalised, without the query.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub source_ip: Option<IpAddr>,
}

impl RequestHead<'_> {
    /// The authority without its port, brackets kept.
    pub fn host(&self) -> &str {
        split_port(self.authority).0
    }

    /// The port that the request addresses: the authority's, or the scheme's.
    pub fn port(&self) -> u16 {
        let default = if self.scheme.eq_ignore_ascii_case("https") {
            443
        } else {
            80
        };
        split_port(self.authority).1.unwrap_or(default)
    }
}

/// `host:port` taken apart; an IPv6 address keeps its brackets.
pub(crate) fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            match port.parse() {
                Ok(number) => (host, Some(number)),
                // `host:` is the host without a port.
                Err(_) if port.is_empty() => (host, None),
                Err(_) => (authority, None),
            }
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_taken_off_the_authority() {
        assert_eq!(split_port("shop"), ("shop", None));
        assert_eq!(split_port("shop:8080"), ("shop", Some(8080)));
        assert_eq!(split_port("shop:"), ("shop", None));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("shop:http"), ("shop:http", None));
    }
}
