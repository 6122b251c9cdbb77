//! Connections that a gateway passes through without decrypting them: their destination, by
//! the name that the client requests (SNI).

use std::sync::Arc;

use rand::Rng;

use super::host::{canonical, covers};
use super::rule::ClusterChoice;
use super::server_names::ServerNames;
use crate::{Cluster, Endpoint, LocalReply, Snapshot, Target};

/// The rules of one port, by the names that clients request.
pub(crate) type TlsRules = ServerNames<Arc<TlsRule>>;

/// One rule of `tls` of a VirtualService.
#[derive(Debug)]
pub(crate) struct TlsRule {
    /// At least one.
    pub(crate) destinations: Vec<(u32, ClusterChoice)>,
}

impl Snapshot {
    /// The destination of a connection to `port` that requests `server_name`.
    ///
    /// # Errors
    /// NR: no rule has the name. NC: the destination does not exist.
    pub fn pass_through(
        &self,
        port: u16,
        server_name: Option<&str>,
        rng: &mut impl Rng,
    ) -> Result<Arc<Cluster>, LocalReply> {
        let rules = self.tls_rules.get(&port);
        let rule = rules.and_then(|rules| rules.requested(server_name));
        let choice = rule.and_then(|rule| rule.split(rng));
        let choice = choice.ok_or_else(LocalReply::no_route)?;
        choice
            .for_port(port)
            .cloned()
            .map_err(LocalReply::no_cluster)
    }
}

impl TlsRule {
    /// Selects the destination of one connection by weight.
    fn split(&self, rng: &mut impl Rng) -> Option<&ClusterChoice> {
        let weights = self.destinations.iter().map(|(weight, _)| weight);
        let total: u64 = weights.map(|weight| u64::from(*weight)).sum();
        let mut left = match total {
            0 => return self.destinations.first().map(|(_, choice)| choice),
            total => rng.random_range(0..total),
        };
        let chosen = self.destinations.iter().find(|(weight, _)| {
            let weight = u64::from(*weight);
            let is_chosen = left < weight;
            left = left.saturating_sub(weight);
            is_chosen
        });
        chosen.map(|(_, choice)| choice)
    }
}

impl Cluster {
    /// The server that a connection which requests `server_name` reaches at `endpoint`. `None`
    /// for pods: they are components, which have no sockets; and for a name that is not one of
    /// a service without addresses of its own.
    pub fn server_of<'a>(
        &self,
        endpoint: &'a Endpoint,
        server_name: Option<&'a str>,
    ) -> Option<(&'a str, u16)> {
        match &endpoint.target {
            Target::Remote { host, port } => Some((host, *port)),
            // No port is requested: a connection with TLS has only a name.
            Target::AnyPort { host } => Some((host, 443)),
            Target::Requested => {
                let name = server_name?;
                covers(&self.service_fqdn, &canonical(name)).then_some((name, self.port))
            }
            Target::Pod { .. } | Target::Peer { .. } => None,
        }
    }
}
