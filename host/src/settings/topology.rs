//! Which workloads run in this host, where the others are, and what may be called
//! outside the mesh.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use ipnet::IpNet;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Topology")]
pub(crate) struct TopologySettings {
    /// Run only this workload, NAME or NAMESPACE/NAME; calls to others go over the network (can be repeated)
    #[arg(
        long = "workload",
        value_name = "NAME",
        value_delimiter = ',',
        env = "GALLERIA_WORKLOAD"
    )]
    pub workloads: Vec<WorkloadName>,

    /// Open the ports of Gateways and Ingresses even if not every workload runs here; without --workload, run nothing else
    #[arg(long, env = "GALLERIA_GATEWAY")]
    pub gateway: bool,

    #[command(flatten)]
    pub gateways: GatewaySettings,

    /// The address of a workload that runs elsewhere [default: its headless Service's name]
    #[arg(
        long = "peer",
        value_name = "NAME=HOST[:PORT]",
        value_delimiter = ',',
        env = "GALLERIA_PEER"
    )]
    pub peers: Vec<PeerAddress>,

    /// Callers trusted as hosts of the mesh, in addition to the pods of workloads that run elsewhere: a name, an address or a network (can be repeated)
    #[arg(
        long = "trusted-peer",
        value_name = "HOST|CIDR",
        value_delimiter = ',',
        env = "GALLERIA_TRUSTED_PEER"
    )]
    pub trusted_peers: Vec<TrustedPeer>,

    /// Whether services may call hosts that no ServiceEntry declares
    #[arg(long, value_enum, default_value_t = OutboundPolicy::RegistryOnly, env = "GALLERIA_OUTBOUND_POLICY")]
    pub outbound_policy: OutboundPolicy,

    /// A network of addresses that are not public, which services may call although no ServiceEntry declares them (can be repeated)
    #[arg(
        long = "outbound-private-network",
        value_name = "CIDR",
        value_delimiter = ',',
        env = "GALLERIA_OUTBOUND_PRIVATE_NETWORK"
    )]
    pub outbound_private_networks: Vec<IpNet>,

    /// What happens to a connection that no NetworkPolicy allows
    #[arg(long, value_enum, default_value_t = NetworkPolicyDeny::Refuse, env = "GALLERIA_NETWORK_POLICY_DENY")]
    pub network_policy_deny: NetworkPolicyDeny,
}

/// For every command that knows Gateways.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Topology")]
pub(crate) struct GatewaySettings {
    /// A label of this host's gateway; it serves the Gateways whose selector selects its labels (can be repeated) [default: istio=ingressgateway, app=istio-ingressgateway]
    #[arg(
        long = "gateway-label",
        value_name = "NAME=VALUE",
        value_delimiter = ',',
        value_parser = label,
        env = "GALLERIA_GATEWAY_LABEL"
    )]
    gateway_label: Vec<(String, String)>,

    /// The namespace of the Secrets that Istio's Gateways name; in a cluster, that of the gateway's pods [default: each Gateway's own]
    #[arg(
        long,
        value_name = "NAMESPACE",
        value_parser = NonEmptyStringValueParser::new(),
        env = "GALLERIA_GATEWAY_NAMESPACE"
    )]
    pub gateway_namespace: Option<String>,
}

impl GatewaySettings {
    /// `options` of a mesh with this gateway.
    pub(crate) fn apply(&self, options: galleria_mesh::Options) -> galleria_mesh::Options {
        let labels = match self.gateway_label.as_slice() {
            [] => options.gateway_labels,
            labels => labels.iter().cloned().collect(),
        };
        galleria_mesh::Options {
            gateway_labels: labels,
            gateway_namespace: self.gateway_namespace.clone(),
            ..options
        }
    }
}

/// `NAME=VALUE` of `--gateway-label`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

/// `NAME`, or `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkloadName {
    pub namespace: Option<String>,
    pub name: String,
}

/// `NAME=HOST[:PORT]` of `--peer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerAddress {
    pub workload: WorkloadName,
    pub address: Address,
}

/// The address of pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// An address, or a name that resolves to one address per pod.
    pub host: String,
    /// `None` means the pods' own ports.
    pub port: Option<u16>,
}

/// A name, an address or a network of `--trusted-peer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TrustedPeer {
    Network(IpNet),
    /// Each of its addresses is a host of the mesh.
    Name(String),
}

/// `outboundTrafficPolicy.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutboundPolicy {
    /// Only hosts that a Service or ServiceEntry declares; others get 502
    RegistryOnly,
    /// Anything
    AllowAny,
}

/// What the caller sees of a connection that no NetworkPolicy allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkPolicyDeny {
    /// 503 at once
    Refuse,
    /// Nothing until its timeout or the connect timeout, as in a cluster
    Drop,
}

impl TopologySettings {
    /// Whether workloads of the mesh run in other hosts.
    pub(crate) fn has_other_hosts(&self) -> bool {
        self.gateway || !self.workloads.is_empty()
    }

    /// The callers to trust. A host that runs no workload has no callers.
    pub(crate) fn trusted_peers(&self) -> &[TrustedPeer] {
        match self.workloads.as_slice() {
            [] => &[],
            _ => &self.trusted_peers,
        }
    }
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for WorkloadName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        let is_name = |text: &str| !text.is_empty() && !text.contains('/');
        if !is_name(name) || !namespace.is_none_or(is_name) {
            return Err("write NAME or NAMESPACE/NAME".into());
        }
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

impl FromStr for PeerAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cure = || "write NAME=HOST or NAME=HOST:PORT".to_owned();
        let (workload, address) = text.split_once('=').ok_or_else(cure)?;
        let authority: http::uri::Authority = address.parse().map_err(|_| cure())?;
        let port = authority.port_u16();
        // Whatever follows the host is the port; user names are refused.
        let after_host = address.strip_prefix(authority.host()).ok_or_else(cure)?;
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() || after_host.is_empty() != port.is_none() {
            return Err(cure());
        }
        Ok(Self {
            workload: workload.parse()?,
            address: Address {
                host: host.to_owned(),
                port,
            },
        })
    }
}

impl FromStr for TrustedPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Network(address.into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let top = text.trim_end_matches('.').rsplit('.').next().unwrap_or("");
        match !is_number(top) && text.bytes().all(allowed) {
            true => Ok(Self::Name(text.to_owned())),
            false => Err("use a name, an address, or a network such as 10.1.0.0/16".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_names_have_an_optional_namespace() {
        let name: WorkloadName = "shop/ui-v1".parse().expect("a name");
        assert_eq!(name.to_string(), "shop/ui-v1");
        for bad in ["", "/ui", "shop/", "a/b/c"] {
            assert!(bad.parse::<WorkloadName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn peer_addresses_have_an_optional_port() {
        let peer = |text: &str| text.parse::<PeerAddress>().map(|peer| peer.address);
        let at = |host: &str, port| {
            let host = host.to_owned();
            Ok(Address { host, port })
        };
        assert_eq!(peer("ui=10.0.0.7"), at("10.0.0.7", None));
        assert_eq!(peer("shop/ui=ui.local:8081"), at("ui.local", Some(8081)));
        assert_eq!(peer("ui=[::1]:80"), at("::1", Some(80)));
        for bad in [
            "ui",
            "ui=",
            "=host",
            "ui=:80",
            "ui=a:99999",
            "ui=me@host",
            "ui=a/b",
        ] {
            assert!(peer(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn trusted_peers_are_names_or_networks() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0",
            "10.0.0.256",
            "a/b",
            "a:80",
            "a b",
            "*",
        ] {
            assert!(bad.parse::<TrustedPeer>().is_err(), "{bad}");
        }
    }
}
