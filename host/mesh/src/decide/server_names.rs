//! Which server of a port with TLS serves a name.
//!
//! The name is the one that a client requests in its handshake (SNI, RFC 6066), and later the
//! host of each request on the connection. Names match as in Envoy's filter chains: the exact
//! name first, then the longest wildcard, which matches any number of labels.

use super::host::{HostTable, canonical};
use super::request::split_port;

/// The servers of one port by their hosts.
#[derive(Debug)]
pub struct ServerNames<T>(HostTable<T>);

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self(HostTable::default())
    }
}

impl<T> ServerNames<T> {
    /// Adds a host of a server, unless another server has it.
    pub fn insert(&mut self, host: &str, server: T) {
        self.0.entry(&canonical(host)).or_insert(server);
    }

    /// The server for the name that a client requests. A client that requests none gets the
    /// server for every host.
    pub fn requested(&self, name: Option<&str>) -> Option<&T> {
        match name {
            Some(name) => self.0.get(&canonical(name)),
            // No other key ends like this.
            None => self.0.get("*"),
        }
    }

    /// The server for a request with this authority.
    pub fn serving(&self, authority: &str) -> Option<&T> {
        self.0.get(&canonical(split_port(authority).0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_server_has_the_name() {
        let mut servers = ServerNames::default();
        for host in ["shop.example.com", "*.example.com", "*.eu.example.com"] {
            servers.insert(host, host);
        }
        servers.insert("*.example.com", "a later server");
        for (requested, expected) in [
            (Some("shop.example.com"), Some("shop.example.com")),
            (Some("SHOP.Example.com."), Some("shop.example.com")),
            (Some("a.example.com"), Some("*.example.com")),
            (Some("a.b.example.com"), Some("*.example.com")),
            (Some("a.eu.example.com"), Some("*.eu.example.com")),
            (Some("eu.example.com"), Some("*.example.com")),
            (Some("example.com"), None),
            (Some("other.com"), None),
            (Some(""), None),
            (Some("*"), None),
            (None, None),
        ] {
            assert_eq!(
                servers.requested(requested).copied(),
                expected,
                "{requested:?}"
            );
        }
        assert_eq!(
            servers.serving("Shop.example.com:8443"),
            Some(&"shop.example.com")
        );
        assert_eq!(servers.serving("other.com:443"), None);
    }

    #[test]
    fn server_for_every_host_has_clients_without_a_name() {
        let mut servers = ServerNames::default();
        servers.insert("*", "every");
        servers.insert("a.example.com", "one");
        assert_eq!(servers.requested(None), Some(&"every"));
        assert_eq!(servers.requested(Some("b.example.com")), Some(&"every"));
        assert_eq!(servers.requested(Some("a.example.com")), Some(&"one"));
        assert_eq!(servers.serving("[::1]:443"), Some(&"every"));
    }
}
