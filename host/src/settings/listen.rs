//! Which addresses and ports are bound, and how long clients may take.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use galleria_manifest::duration;

/// Ports below this need root; they are bound on `PRIVILEGED_OFFSET` more.
const PRIVILEGED: u16 = 1024;
const PRIVILEGED_OFFSET: u16 = 8000;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listeners")]
pub(crate) struct ListenSettings {
    /// Address to bind listeners on; 0.0.0.0 opens them to the network
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "GALLERIA_BIND")]
    pub bind: IpAddr,

    /// Bind every declared port P on P + N [default: ports below 1024 on 8000 + P, others as declared]
    #[arg(long, value_name = "N", env = "GALLERIA_PORT_OFFSET")]
    pub port_offset: Option<u16>,

    /// Bind every declared port on any free port; see --addresses-file
    #[arg(long, conflicts_with = "port_offset", env = "GALLERIA_FREE_PORTS")]
    pub free_ports: bool,

    /// Address of the health and metrics port
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15020",
        env = "GALLERIA_STATUS"
    )]
    pub status: SocketAddr,

    /// Address of the Kubernetes API, with TLS and a token; see `galleria kubeconfig`
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15000",
        env = "GALLERIA_ADMIN"
    )]
    pub admin: SocketAddr,

    /// Write the bound addresses to FILE, as JSON, once everything is ready
    #[arg(long, value_name = "FILE", env = "GALLERIA_ADDRESSES_FILE")]
    pub addresses_file: Option<PathBuf>,

    /// How long a client may take to send the head of a request, and a new connection to send its first
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "GALLERIA_CLIENT_HEAD_TIMEOUT")]
    pub client_head_timeout: Duration,

    /// How long an idle client connection is kept open
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, env = "GALLERIA_CLIENT_IDLE_TIMEOUT")]
    pub client_idle_timeout: Duration,

    /// How long a client may pause within a request body; the whole body may take six times that, plus a second for every 4 KiB
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, env = "GALLERIA_CLIENT_BODY_TIMEOUT")]
    pub client_body_timeout: Duration,

    /// How long a client may stop reading a response
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, env = "GALLERIA_CLIENT_STALL_TIMEOUT")]
    pub client_stall_timeout: Duration,

    /// Maximum number of connections of one client address; raise it for hosts behind a load balancer [default: a quarter of a listener's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), env = "GALLERIA_CLIENT_CONNECTIONS")]
    pub client_connections: Option<u32>,

    /// Number of proxies in front of the gateway whose x-forwarded-for and x-forwarded-proto are trusted [default: gatewayTopology.numTrustedProxies of Istio's MeshConfig, or 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=100), env = "GALLERIA_NUM_TRUSTED_PROXIES")]
    pub num_trusted_proxies: Option<u32>,

    /// Ports of Gateways and Ingresses, as declared, whose connections begin with a header of the PROXY protocol [default: those with gatewayTopology.proxyProtocol]
    #[arg(
        long,
        value_name = "PORT",
        value_delimiter = ',',
        env = "GALLERIA_PROXY_PROTOCOL"
    )]
    pub proxy_protocol: Vec<u16>,

    /// Maximum size of a request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 16 << 20, env = "GALLERIA_MAX_REQUEST_BODY")]
    pub max_request_body: u64,
}

/// Where listeners are bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding {
    /// `--bind`.
    pub address: IpAddr,
    pub ports: PortRule,
}

/// From a declared port to the one that is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortRule {
    /// As declared; privileged ports on 8000 + P.
    Default,
    /// P + N for every port (`--port-offset N`).
    Offset(u16),
    /// Any free port (`--free-ports`).
    Free,
}

/// The proxies in front of the gateway.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    /// `--num-trusted-proxies`.
    pub trusted: Option<u32>,
    /// `--proxy-protocol`.
    pub protocol_ports: Vec<u16>,
}

/// `declared` + `offset` is not a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OffsetTooLarge {
    pub offset: u16,
}

/// How long a client may take over each step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientTimeouts {
    /// For the head of a connection's first request, and from the first byte of each
    /// later head to its last (`--client-head-timeout`).
    pub head: Duration,
    /// Between two requests of a connection (`--client-idle-timeout`).
    pub idle: Duration,
    /// Between two frames of a request body (`--client-body-timeout`).
    pub body: Duration,
    /// Between two frames of a gRPC request, whose streams may be quiet
    /// (`--idle-timeout`).
    pub grpc: Duration,
    /// While a response waits for the client to read (`--client-stall-timeout`).
    pub stall: Duration,
}

impl ListenSettings {
    /// Whether other machines can reach a port: this is not only a developer's machine then.
    pub(crate) fn is_exposed(&self) -> bool {
        !self.bind.is_loopback() || !self.admin.ip().is_loopback()
    }

    pub(crate) fn binding(&self) -> Binding {
        let ports = match (self.free_ports, self.port_offset) {
            (true, _) => PortRule::Free,
            (false, Some(offset)) => PortRule::Offset(offset),
            (false, None) => PortRule::Default,
        };
        Binding {
            address: self.bind,
            ports,
        }
    }

    pub(crate) fn proxies(&self) -> Proxies {
        Proxies {
            trusted: self.num_trusted_proxies,
            protocol_ports: self.proxy_protocol.clone(),
        }
    }

    /// `grpc` is the pause that a stream may make.
    pub(super) fn client_timeouts(&self, grpc: Duration) -> ClientTimeouts {
        ClientTimeouts {
            head: self.client_head_timeout,
            idle: self.client_idle_timeout,
            body: self.client_body_timeout,
            grpc,
            stall: self.client_stall_timeout,
        }
    }
}

impl PortRule {
    /// The port that `declared` is bound on, if it is known in advance.
    pub(crate) fn fixed(self, declared: u16) -> Option<u16> {
        self.bound(declared).ok().filter(|port| *port != 0)
    }

    /// The port that `declared` is bound on; 0 is any free port.
    ///
    /// # Errors
    /// The offset leads past the highest port.
    pub(crate) fn bound(self, declared: u16) -> Result<u16, OffsetTooLarge> {
        let offset = match self {
            Self::Free => return Ok(0),
            Self::Default if declared >= PRIVILEGED => 0,
            Self::Default => PRIVILEGED_OFFSET,
            Self::Offset(offset) => offset,
        };
        declared
            .checked_add(offset)
            .ok_or(OffsetTooLarge { offset })
    }
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            body: Duration::from_secs(10),
            grpc: Duration::from_secs(60),
            stall: Duration::from_secs(30),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileged_ports_are_shifted() {
        let bound = |rule: PortRule, port| rule.bound(port).expect("a port");
        assert_eq!(bound(PortRule::Default, 80), 8080);
        assert_eq!(bound(PortRule::Default, 443), 8443);
        assert_eq!(bound(PortRule::Default, 9080), 9080);
        assert_eq!(bound(PortRule::Offset(0), 80), 80);
        assert_eq!(bound(PortRule::Offset(10_000), 9080), 19_080);
        let offset = 60_000;
        assert_eq!(
            PortRule::Offset(offset).bound(9080),
            Err(OffsetTooLarge { offset })
        );
    }
}
