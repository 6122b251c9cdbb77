//! Which callers are hosts of the mesh.
//!
//! A host trusts the metadata of requests from other hosts: request ids, the chain of
//! addresses, and the depth of the call chain. Hosts do not authenticate each other, so
//! trust depends only on the address. Trusted are the addresses of workloads in other
//! hosts, which DNS provides, and those of `--trusted-peer`, for callers that run no
//! workload that other hosts call (a gateway, Jobs). Every other caller is a client.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures::future::join_all;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::peers::resolve;
use crate::settings::topology::TrustedPeer;

/// How often the log may mention untrusted callers: any client that can reach the port
/// can cause this line.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// See the module's documentation.
pub(crate) struct Trust {
    networks: Vec<IpNet>,
    names: Vec<Name>,
    /// The addresses of `names` and of workloads in other hosts.
    hosts: ArcSwap<HashSet<IpAddr>>,
    warned: Mutex<Option<Instant>>,
}

struct Name {
    host: String,
    /// The addresses from the last successful resolution of the name.
    addresses: Mutex<BTreeSet<IpAddr>>,
}

impl Trust {
    pub(crate) fn new(peers: &[TrustedPeer]) -> Self {
        let (mut networks, mut names) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                TrustedPeer::Network(network) => networks.push(*network),
                TrustedPeer::Name(host) => names.push(Name {
                    host: host.clone(),
                    addresses: Mutex::default(),
                }),
            }
        }
        Self {
            networks,
            names,
            hosts: ArcSwap::default(),
            warned: Mutex::default(),
        }
    }

    pub(crate) fn is_peer(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.hosts.load().contains(&address) || self.networks.iter().any(|it| it.contains(&address))
    }

    /// Logs that `address` is treated as a client although it calls like a host.
    pub(crate) fn warn_of(&self, address: IpAddr) {
        {
            let mut warned = self.warned.lock();
            if warned.is_some_and(|last| last.elapsed() < WARN_EVERY) {
                return;
            }
            *warned = Some(Instant::now());
        }
        tracing::warn!(
            %address,
            "a caller claims to be a host of the mesh, but its address is not a trusted peer: \
             treating it as a client; if it is a host, add it with \
             --trusted-peer"
        );
    }

    pub(super) fn has_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// Resolves every name.
    pub(super) async fn ask(&self) {
        join_all(self.names.iter().map(Name::ask)).await;
    }

    /// Trusts `hosts` and the addresses of the names, and no others.
    pub(super) fn learn(&self, hosts: impl Iterator<Item = IpAddr>) {
        let named = self.names.iter().flat_map(Name::addresses);
        let hosts: HashSet<_> = hosts.chain(named).map(|it| it.to_canonical()).collect();
        if **self.hosts.load() != hosts {
            self.hosts.store(hosts.into());
        }
    }
}

impl Name {
    async fn ask(&self) {
        let resolved = resolve(&self.host).await;
        let mut known = self.addresses.lock();
        match resolved {
            Ok(found) => {
                let found = BTreeSet::from_iter(found);
                if *known != found {
                    tracing::info!(
                        host = self.host,
                        addresses = found.len(),
                        "trusted peers found"
                    );
                    *known = found;
                }
            }
            Err(reason) if known.is_empty() => tracing::warn!(
                host = self.host,
                reason,
                "cannot resolve the name of a trusted peer: treating it as a client"
            ),
            Err(reason) => {
                tracing::debug!(host = self.host, reason, "keeping the trusted addresses");
            }
        }
    }

    fn addresses(&self) -> BTreeSet<IpAddr> {
        let known = self.addresses.lock();
        known.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn trust(peers: &[&str]) -> Trust {
        let peers = peers.iter().map(|it| it.parse().expect("a trusted peer"));
        Trust::new(&Vec::from_iter(peers))
    }

    #[test]
    fn no_caller_is_trusted_by_default() {
        assert!(!trust(&[]).is_peer(address("127.0.0.1")));
        let trust = trust(&["10.1.0.0/16", "192.0.2.7", "fd00::/8"]);
        for peer in ["10.1.255.1", "192.0.2.7", "::ffff:10.1.0.1", "fd00::1"] {
            assert!(trust.is_peer(address(peer)), "{peer}");
        }
        for client in ["10.2.0.1", "192.0.2.8", "::1", "::ffff:10.2.0.1"] {
            assert!(!trust.is_peer(address(client)), "{client}");
        }
    }

    #[tokio::test]
    async fn names_and_pods_of_other_hosts_are_trusted_as_long_as_they_are_known() {
        let trust = trust(&["localhost"]);
        trust.ask().await;
        trust.learn([address("::ffff:192.0.2.7")].into_iter());
        assert!(trust.is_peer(address("192.0.2.7")));
        assert!(trust.is_peer(address("127.0.0.1")) || trust.is_peer(address("::1")));
        trust.learn(std::iter::empty());
        assert!(!trust.is_peer(address("192.0.2.7")));
    }
}
