//! Istio's MeshConfig: the services that decide about requests for a workload, the trust domain,
//! and what is in front of gateways.

use std::collections::BTreeMap;
use std::time::Duration;

use super::GatewayTopology;
use crate::{Position, WithPosition};

/// The part of MeshConfig that the host reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MeshConfig {
    /// `extensionProviders`
    pub extension_providers: Vec<ExtensionProvider>,
    /// `trustDomain`, which must be that of the host.
    pub trust_domain: Option<WithPosition<String>>,
    /// `trustDomainAliases`: other names of the trust domain in policies.
    pub trust_domain_aliases: Vec<String>,
    /// `defaultConfig.gatewayTopology`
    pub gateway_topology: Option<GatewayTopology>,
}

/// A service that policies refer to by name.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtensionProvider {
    pub at: Position,
    pub name: String,
    /// `None` for a provider of telemetry, which has no effect here.
    pub ext_authz: Option<ExtAuthz>,
}

/// `envoyExtAuthzHttp` or `envoyExtAuthzGrpc`: a service that decides whether a request is
/// allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct ExtAuthz {
    /// `[NAMESPACE/]HOST`
    pub service: String,
    pub port: u16,
    /// 600 s by default, as in Istio.
    pub timeout: Duration,
    /// Whether a request is allowed if the service gives no decision.
    pub fail_open: bool,
    /// Whether the gateway chooses the route by the headers that the service sets.
    pub clear_route_cache: bool,
    /// The status for a request about which the service gives no decision; 403 by default.
    pub status_on_error: u16,
    /// `includeRequestBodyInCheck`
    pub request_body: Option<CheckedBody>,
    pub protocol: ExtAuthzProtocol,
}

/// How a provider is called.
#[derive(Debug, Clone, PartialEq)]
pub enum ExtAuthzProtocol {
    Http(ExtAuthzHttp),
    Grpc,
}

/// Fields of `envoyExtAuthzHttp` that a gRPC provider does not have. Lists of headers have
/// names in lower case, with a `*` at one end for any beginning or end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExtAuthzHttp {
    pub path_prefix: String,
    /// `includeRequestHeadersInCheck`
    pub request_headers: Vec<String>,
    /// `includeAdditionalHeadersInCheck`
    pub additional_headers: BTreeMap<String, String>,
    pub headers_to_upstream_on_allow: Vec<String>,
    pub headers_to_downstream_on_deny: Vec<String>,
    pub headers_to_downstream_on_allow: Vec<String>,
}

/// The part of a request's body that a provider gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedBody {
    /// `maxRequestBytes`
    pub bytes_max: usize,
    /// `allowPartialMessage`: of a larger body, the beginning is sent. Otherwise the
    /// request gets 413.
    pub allows_partial: bool,
    /// `packAsBytes`
    pub packs_as_bytes: bool,
}
