//! The head of a request, and its caller.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::Workload;

/// The sender of a request.
#[derive(Debug, Clone, Copy)]
pub enum Caller<'a> {
    /// A client outside the mesh, by the port of its listener: as declared in the Gateway,
    /// not as bound.
    Edge { listener_port: u16 },
    /// A workload of the mesh.
    Workload(&'a Arc<Workload>),
}

/// The head of a request. `path` must be the result of [`crate::normalise_path`]: every
/// match and every policy relies on that.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    /// `http` or `https`; `tcp` for a server with another protocol.
    pub scheme: &'a str,
    /// `Host` or `:authority`, including its port if it has one.
    pub authority: &'a str,
    /// Normalised, without the query.
    pub path: &'a str,
    /// Without the question mark.
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    pub source_ip: Option<IpAddr>,
}

impl RequestHead<'_> {
    /// The authority without its port. Brackets are kept.
    pub fn host(&self) -> &str {
        split_port(self.authority).0
    }

    /// The port of the authority, or the default port of the scheme.
    pub fn port(&self) -> u16 {
        let default = if self.scheme.eq_ignore_ascii_case("https") {
            443
        } else {
            80
        };
        split_port(self.authority).1.unwrap_or(default)
    }
}

/// Splits `host:port`. An IPv6 address keeps its brackets.
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

/// `host:port` of `host.:port`: the final dot of an absolute name makes no other host.
pub(crate) fn without_final_dot(authority: &str) -> Cow<'_, str> {
    let (host, port) = split_port(authority);
    match (host.strip_suffix('.'), port) {
        (None, _) => authority.into(),
        (Some(host), None) => host.into(),
        (Some(host), Some(port)) => format!("{host}:{port}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_dot_belongs_to_the_host() {
        for (authority, expected) in [
            ("shop.test", "shop.test"),
            ("shop.test.", "shop.test"),
            ("shop.test.:80", "shop.test:80"),
            ("shop.test:80", "shop.test:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(without_final_dot(authority), expected);
        }
    }

    #[test]
    fn an_authority_is_split_into_host_and_port() {
        assert_eq!(split_port("shop"), ("shop", None));
        assert_eq!(split_port("shop:8080"), ("shop", Some(8080)));
        assert_eq!(split_port("shop:"), ("shop", None));
        assert_eq!(split_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_port("[::1]"), ("[::1]", None));
        assert_eq!(split_port("shop:http"), ("shop:http", None));
    }
}
