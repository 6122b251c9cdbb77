//! `tls` of Istio's VirtualService: connections that a gateway passes through by their SNI.

use super::RouteDestination;
use crate::{Position, WithPosition};

/// One rule of `spec.tls`.
#[derive(Debug, Clone)]
pub struct TlsRoute {
    pub at: Position,
    /// One of these must hold; at least one.
    pub matches: Vec<TlsMatch>,
    /// At least one.
    pub route: Vec<RouteDestination>,
}

/// One rule of `spec.tcp`, which the host does not act on.
#[derive(Debug, Clone)]
pub struct TcpRoute {
    pub route: Vec<RouteDestination>,
}

/// Conditions, all of which must hold.
#[derive(Debug, Clone)]
pub struct TlsMatch {
    pub at: Position,
    /// The names that clients request, in lower case; at least one. `*.example.com` is every
    /// name that ends so.
    pub sni_hosts: Vec<WithPosition<String>>,
    /// The port of the gateway's server.
    pub port: Option<u16>,
    /// If not empty, replaces the list of the VirtualService.
    pub gateways: Vec<WithPosition<String>>,
}
