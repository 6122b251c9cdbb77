//! Servers outside the mesh: which addresses a connection to them may use.
//!
//! A name says nothing about its addresses. Whoever controls the name can let it resolve to
//! the host itself, to the metadata service of a cloud, or to a machine in the private
//! network of the host. What a manifest says therefore decides:
//!
//! | the request is sent to | addresses |
//! | --- | --- |
//! | an address that a manifest contains, or `localhost` if it contains that | that one |
//! | a name that a manifest contains | all but those of this host, of its link, and reserved ones |
//! | a name or address that only a wildcard or the outbound policy allows | public ones |
//!
//! Networks in `addresses` of the ServiceEntry, and [`crate::Options::private_networks`],
//! are allowed in every case. The NetworkPolicies of the caller restrict all of them
//! further.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use galleria_manifest::model::IpBlock;
use ipnet::IpNet;

use crate::decide::host::canonical;
use crate::inbound::network::{NetworkPolicies, contains};
use crate::{Cluster, Endpoint, Target};

/// The addresses that a connection to a server outside may use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AddressRules {
    declaration: Declaration,
    /// Networks that are allowed whatever they are.
    networks: Arc<[IpNet]>,
    /// `None` if no NetworkPolicy governs the caller's connections.
    blocks: Option<Arc<[IpBlock]>>,
}

/// Why a connection must not use an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedAddress {
    /// The NetworkPolicies of the caller allow none of the addresses.
    NetworkPolicy,
    /// The address is not public, and not declared.
    NotPublic(IpAddr),
}

/// What a manifest contains of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Declaration {
    Address,
    Name,
    Nothing,
}

/// Who can have an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// This host, its link, a multicast group, or a reserved address.
    Local,
    /// A machine in a private network.
    Private,
    Public,
}

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkPolicy => f.write_str("no NetworkPolicy of the caller allows its address"),
            Self::NotPublic(address) => {
                write!(
                    f,
                    "its address {address} is not public, and nothing declares it"
                )
            }
        }
    }
}

impl Error for RefusedAddress {}

impl AddressRules {
    /// No restrictions: for other hosts of the mesh.
    pub fn unrestricted() -> Self {
        Self {
            declaration: Declaration::Address,
            networks: Arc::default(),
            blocks: None,
        }
    }

    /// Public addresses only.
    pub fn public() -> Self {
        Self {
            declaration: Declaration::Nothing,
            ..Self::unrestricted()
        }
    }

    /// Decides about one address.
    ///
    /// # Errors
    /// Why it must not be used.
    pub fn check(&self, address: IpAddr) -> Result<(), RefusedAddress> {
        let address = address.to_canonical();
        let least = match self.declaration {
            Declaration::Address => Scope::Local,
            Declaration::Name => Scope::Private,
            Declaration::Nothing => Scope::Public,
        };
        let is_declared = self.networks.iter().any(|it| it.contains(&address));
        if scope(address) < least && !is_declared {
            return Err(RefusedAddress::NotPublic(address));
        }
        match &self.blocks {
            Some(blocks) if !blocks.iter().any(|block| contains(block, address)) => {
                Err(RefusedAddress::NetworkPolicy)
            }
            _ => Ok(()),
        }
    }

    /// The addresses among `found` that a connection may use.
    ///
    /// # Errors
    /// Why none of them may be used.
    pub fn usable(
        &self,
        found: impl IntoIterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, RefusedAddress> {
        let (mut usable, mut refused) = (Vec::new(), None);
        for address in found {
            match self.check(address.ip()) {
                Ok(()) => usable.push(address),
                Err(why) => refused = Some(why),
            }
        }
        match refused {
            Some(why) if usable.is_empty() => Err(why),
            _ => Ok(usable),
        }
    }

    /// Decides what needs no look-up: about an address, or about any name if no address is
    /// allowed.
    ///
    /// # Errors
    /// Why the host must not be used.
    pub fn check_host(&self, host: &str) -> Result<(), RefusedAddress> {
        if self.blocks.as_ref().is_some_and(|blocks| blocks.is_empty()) {
            return Err(RefusedAddress::NetworkPolicy);
        }
        match host.trim_matches(['[', ']']).parse() {
            Ok(address) => self.check(address),
            Err(_) => Ok(()),
        }
    }
}

impl Cluster {
    /// The addresses that a connection to `endpoint` may use, on behalf of a caller with
    /// `policies`. `host` and `port` are those of the connection.
    pub fn address_rules(
        &self,
        endpoint: &Endpoint,
        host: &str,
        port: u16,
        policies: &NetworkPolicies,
    ) -> AddressRules {
        AddressRules {
            declaration: self.declaration(endpoint, host),
            networks: Arc::clone(&self.declared_networks),
            blocks: policies.egress_blocks(port),
        }
    }

    fn declaration(&self, endpoint: &Endpoint, host: &str) -> Declaration {
        let host = canonical(host.trim_start_matches('[').trim_end_matches(']'));
        let is_contained = match endpoint.target {
            Target::Requested => *host == *self.service_fqdn,
            // The endpoint is one of the manifest.
            Target::Remote { .. } | Target::AnyPort { .. } => true,
            Target::Pod { .. } | Target::Peer { .. } => false,
        };
        match is_contained {
            false => Declaration::Nothing,
            true if host.parse::<IpAddr>().is_ok() || &*host == "localhost" => Declaration::Address,
            true => Declaration::Name,
        }
    }
}

fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(address) => scope_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(address) => scope_v4(address),
            None => scope_v6(address),
        },
    }
}

/// IANA's registry of special-purpose addresses (RFC 6890).
fn scope_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        [0 | 127 | 224..=255, ..] | [169, 254, ..] => Scope::Local,
        [10, ..]
        | [100, 64..=127, ..]
        | [172, 16..=31, ..]
        | [192, 0, 0, _]
        | [192, 168, ..]
        | [198, 18..=19, ..] => Scope::Private,
        _ => Scope::Public,
    }
}

fn scope_v6(address: Ipv6Addr) -> Scope {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] | [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => {
            Scope::Local
        }
        // Unique local addresses, and the site-local ones before them.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Scope::Private,
        _ => Scope::Public,
    }
}

/// The IPv4 address that a translated address stands for: NAT64, 6to4, and the deprecated
/// form that is compatible with IPv4.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(from(high, low))
        }
        [0x64, 0xff9b, 1, .., high, low] | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(declaration: Declaration, networks: &[&str]) -> AddressRules {
        let networks = networks.iter().map(|it| it.parse().expect("a network"));
        AddressRules {
            declaration,
            networks: networks.collect(),
            blocks: None,
        }
    }

    #[test]
    fn declaration_decides_about_addresses_that_are_not_public() {
        for (address, by_name, undeclared) in [
            ("203.0.113.7", true, true),
            ("8.8.8.8", true, true),
            ("172.15.0.1", true, true),
            ("172.32.0.1", true, true),
            ("100.128.0.1", true, true),
            ("2606:4700::1111", true, true),
            ("10.0.0.1", true, false),
            ("172.16.0.1", true, false),
            ("172.31.255.255", true, false),
            ("192.168.1.1", true, false),
            ("100.64.0.1", true, false),
            ("100.100.100.200", true, false),
            ("198.19.0.1", true, false),
            ("192.0.0.8", true, false),
            ("fd00:ec2::254", true, false),
            ("fec0::1", true, false),
            ("64:ff9b::a00:1", true, false),
            ("2002:c0a8:101::1", true, false),
            ("64:ff9b::808:808", true, true),
            ("127.0.0.1", false, false),
            ("127.8.8.8", false, false),
            ("0.0.0.0", false, false),
            ("0.1.2.3", false, false),
            ("169.254.169.254", false, false),
            ("224.0.0.1", false, false),
            ("240.0.0.1", false, false),
            ("255.255.255.255", false, false),
            ("::", false, false),
            ("::1", false, false),
            ("::7f00:1", false, false),
            ("fe80::1", false, false),
            ("ff02::1", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("::ffff:10.0.0.1", true, false),
            ("::ffff:203.0.113.7", true, true),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("64:ff9b:1::7f00:1", false, false),
            ("2002:a9fe:a9fe::1", false, false),
        ] {
            let ip: IpAddr = address.parse().expect("an address");
            let allowed = |declaration| rules(declaration, &[]).check(ip).is_ok();
            assert!(allowed(Declaration::Address), "{address}");
            assert_eq!(allowed(Declaration::Name), by_name, "{address}");
            assert_eq!(allowed(Declaration::Nothing), undeclared, "{address}");
        }
    }

    #[test]
    fn declared_networks_are_allowed() {
        let rules = rules(Declaration::Nothing, &["10.1.0.0/16", "169.254.169.254/32"]);
        for (address, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.2.3", false),
            ("169.254.169.254", true),
            ("169.254.169.253", false),
        ] {
            let ip = address.parse().expect("an address");
            assert_eq!(rules.check(ip).is_ok(), expected, "{address}");
        }
    }

    #[test]
    fn policies_restrict_what_is_declared() {
        let block = IpBlock {
            cidr: "10.0.0.0/8".parse().expect("a network"),
            except: vec!["10.9.0.0/16".parse().expect("a network")],
        };
        let rules = AddressRules {
            blocks: Some([block].into()),
            ..rules(Declaration::Address, &[])
        };
        for (address, expected) in [
            ("10.1.2.3", Ok(())),
            ("10.9.2.3", Err(RefusedAddress::NetworkPolicy)),
            ("203.0.113.7", Err(RefusedAddress::NetworkPolicy)),
        ] {
            let ip = address.parse().expect("an address");
            assert_eq!(rules.check(ip), expected, "{address}");
        }
        assert_eq!(rules.check_host("api.example.com"), Ok(()));
        assert!(rules.check_host("[::1]").is_err());
        let nothing = AddressRules {
            blocks: Some([].into()),
            ..rules
        };
        assert!(nothing.check_host("api.example.com").is_err());
    }
}
