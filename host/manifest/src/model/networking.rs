//! Traffic: Istio's Gateway, VirtualService, DestinationRule and ServiceEntry,
//! and Kubernetes' Ingress.

use std::time::Duration;

use regex::Regex;

use super::{
    CertificateSource, GatewayTopology, Labels, PortReference, ServerCertificate, ServerTls,
    TcpRoute, TlsMode, TlsRoute,
};
use crate::{Position, WithPosition};

#[derive(Debug, Clone)]
pub struct Gateway {
    /// The gateway workload that serves it.
    pub selector: Labels,
    pub servers: Vec<Server>,
    /// That of the annotation `proxy.istio.io/config`.
    pub topology: Option<GatewayTopology>,
}

#[derive(Debug, Clone)]
pub struct Server {
    pub at: Position,
    pub name: Option<String>,
    pub port: WithPosition<u16>,
    /// The port's name, for example `http`.
    pub port_name: String,
    pub protocol: Protocol,
    /// `[namespace/]dnsName`, at least one.
    pub hosts: Vec<WithPosition<String>>,
    pub tls: Option<ServerTls>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    Https,
    Tcp,
    Tls,
    Mongo,
}

#[derive(Debug, Clone)]
pub struct VirtualService {
    /// At least one, unless this is a delegate.
    pub hosts: Vec<WithPosition<String>>,
    /// `mesh` by default; otherwise `[namespace/]name`.
    pub gateways: Vec<WithPosition<String>>,
    /// `*` by default.
    pub export_to: Vec<WithPosition<String>>,
    pub http: Vec<HttpRoute>,
    pub tls: Vec<TlsRoute>,
    pub tcp: Vec<TcpRoute>,
}

/// One rule of `spec.http`.
#[derive(Debug, Clone)]
pub struct HttpRoute {
    pub at: Position,
    pub name: Option<String>,
    /// One of these must hold; empty matches everything.
    pub matches: Vec<HttpMatch>,
    pub route: Vec<RouteDestination>,
    pub redirect: Option<Redirect>,
    pub direct_response: Option<DirectResponse>,
    pub delegate: Option<Delegate>,
    pub rewrite: Option<Rewrite>,
    /// None if absent or `0s`.
    pub timeout: Option<Duration>,
    pub retries: Option<Retries>,
    pub fault: Option<Fault>,
    /// `mirror` and `mirrors` together.
    pub mirrors: Vec<Mirror>,
    pub cors_policy: Option<CorsPolicy>,
    pub headers: HeaderOperations,
}

/// Conditions, all of which must hold.
#[derive(Debug, Clone)]
pub struct HttpMatch {
    pub at: Position,
    pub name: Option<String>,
    pub uri: Option<StringMatch>,
    pub ignore_uri_case: bool,
    pub scheme: Option<StringMatch>,
    pub method: Option<StringMatch>,
    pub authority: Option<StringMatch>,
    /// Lower-case names.
    pub headers: Vec<(String, StringMatch)>,
    pub without_headers: Vec<(String, StringMatch)>,
    pub query_params: Vec<(String, StringMatch)>,
    pub port: Option<u16>,
    pub source_labels: Labels,
    pub source_namespace: Option<String>,
    /// If not empty, replaces the list of the VirtualService.
    pub gateways: Vec<WithPosition<String>>,
}

#[derive(Debug, Clone)]
pub enum StringMatch {
    Exact(String),
    Prefix(String),
    /// By whole elements, as in the Gateway API: `/ui` matches `/ui` and `/ui/a`, not `/uix`.
    /// Without a trailing slash; empty matches every path.
    PathPrefix(String),
    /// Compiled to match the whole text; [`StringMatch::pattern`] is the written pattern.
    Regex {
        pattern: String,
        regex: Regex,
    },
    /// `{}`: present, with any value.
    Present,
}

#[derive(Debug, Clone)]
pub struct RouteDestination {
    pub at: Position,
    pub destination: Destination,
    /// None if absent; a single destination gets all requests.
    pub weight: Option<WithPosition<u32>>,
    pub headers: HeaderOperations,
}

#[derive(Debug, Clone)]
pub struct Destination {
    pub host: WithPosition<String>,
    pub subset: Option<WithPosition<String>>,
    pub port: Option<WithPosition<u16>>,
}

#[derive(Debug, Clone, Default)]
pub struct HeaderOperations {
    pub request: HeaderChanges,
    pub response: HeaderChanges,
}

/// Applied in this order: remove, set, add. Names are lower-case and valid.
#[derive(Debug, Clone, Default)]
pub struct HeaderChanges {
    pub set: Vec<(String, String)>,
    pub add: Vec<(String, String)>,
    pub remove: Vec<String>,
    /// Whether `%` in values is an ordinary character, instead of the beginning of one of
    /// Envoy's substitutions ([`super::header_parts`]).
    pub is_literal: bool,
}

#[derive(Debug, Clone)]
pub struct Rewrite {
    pub at: Position,
    pub uri: Option<String>,
    pub uri_regex: Option<RegexRewrite>,
    pub authority: Option<String>,
}

/// RE2 syntax; `rewrite` uses `\1` for groups.
#[derive(Debug, Clone)]
pub struct RegexRewrite {
    pub regex: Regex,
    pub rewrite: String,
}

#[derive(Debug, Clone)]
pub struct Redirect {
    pub at: Position,
    pub uri: Option<String>,
    /// Replaces the part of the path that matched.
    pub prefix: Option<String>,
    pub authority: Option<String>,
    pub scheme: Option<String>,
    pub port: Option<RedirectPort>,
    /// 301, 302, 303, 307 or 308; 301 by default.
    pub code: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    Number(u16),
    FromProtocolDefault,
    FromRequestPort,
}

#[derive(Debug, Clone)]
pub struct DirectResponse {
    pub at: Position,
    pub status: u16,
    /// At most 1 MiB.
    pub body: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Delegate {
    pub name: WithPosition<String>,
    /// By default the namespace of the VirtualService.
    pub namespace: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Retries {
    /// Retries after the first try; 0 disables retries.
    pub attempts: u32,
    pub per_try_timeout: Option<Duration>,
    /// Envoy's retry conditions and status codes, as written; None for the default.
    pub retry_on: Option<Vec<WithPosition<String>>>,
    /// Back-off base; 25 ms by default.
    pub backoff: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct Fault {
    pub delay: Option<FaultDelay>,
    pub abort: Option<FaultAbort>,
}

#[derive(Debug, Clone)]
pub struct FaultDelay {
    pub fixed_delay: Duration,
    pub percentage: Percent,
}

#[derive(Debug, Clone)]
pub struct FaultAbort {
    pub status: AbortStatus,
    pub percentage: Percent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortStatus {
    Http(u16),
    Grpc(u16),
}

/// 0.0 to 100.0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

#[derive(Debug, Clone)]
pub struct Mirror {
    pub destination: Destination,
    pub percentage: Percent,
}

#[derive(Debug, Clone)]
pub struct CorsPolicy {
    pub allow_origins: Vec<StringMatch>,
    pub allow_methods: Vec<String>,
    pub allow_headers: Vec<String>,
    pub expose_headers: Vec<String>,
    pub max_age: Option<Duration>,
    pub allow_credentials: bool,
}

#[derive(Debug, Clone)]
pub struct DestinationRule {
    pub host: WithPosition<String>,
    pub traffic_policy: Option<TrafficPolicy>,
    pub subsets: Vec<Subset>,
    pub export_to: Vec<WithPosition<String>>,
}

#[derive(Debug, Clone)]
pub struct Subset {
    pub at: Position,
    pub name: WithPosition<String>,
    pub labels: Labels,
    pub traffic_policy: Option<TrafficPolicy>,
}

#[derive(Debug, Clone, Default)]
pub struct TrafficPolicy {
    pub load_balancer: Option<LoadBalancer>,
    pub connection_pool: Option<ConnectionPool>,
    pub outlier_detection: Option<OutlierDetection>,
    pub tls: Option<ClientTls>,
    /// By port number; each replaces all destination-level blocks.
    pub port_level_settings: Vec<(u16, TrafficPolicy)>,
}

#[derive(Debug, Clone)]
pub struct LoadBalancer {
    pub policy: LoadBalancerPolicy,
    /// `warmup.duration`, or the older `warmupDurationSecs`.
    pub warmup: Option<Duration>,
}

#[derive(Debug, Clone)]
pub enum LoadBalancerPolicy {
    RoundRobin,
    LeastRequest,
    Random,
    Passthrough,
    ConsistentHash {
        key: HashKey,
        minimum_ring_size: u32,
        maglev: bool,
    },
}

#[derive(Debug, Clone)]
pub enum HashKey {
    Header(String),
    /// `ttl` is None if the cookie is only read, and zero for a session cookie.
    Cookie {
        name: String,
        path: Option<String>,
        ttl: Option<Duration>,
    },
    SourceIp,
    QueryParameter(String),
}

#[derive(Debug, Clone, Default)]
pub struct ConnectionPool {
    pub tcp_max_connections: Option<u32>,
    pub connect_timeout: Option<Duration>,
    pub http1_max_pending_requests: Option<u32>,
    pub http2_max_requests: Option<u32>,
    pub max_retries: Option<u32>,
    pub idle_timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub struct OutlierDetection {
    /// 5 by default; None if disabled by 0 or by the old field.
    pub consecutive_5xx: Option<u32>,
    /// None by default; set by `consecutiveGatewayErrors` or the old `consecutiveErrors`.
    pub consecutive_gateway_errors: Option<u32>,
    /// 10 s by default.
    pub interval: Duration,
    /// 30 s by default.
    pub base_ejection_time: Duration,
    /// 10 by default.
    pub max_ejection_percent: u32,
    /// 0 by default.
    pub min_health_percent: u32,
}

#[derive(Debug, Clone)]
pub struct ClientTls {
    pub at: Position,
    pub mode: ClientTlsMode,
    pub sni: Option<String>,
    pub credential_name: Option<String>,
    pub ca_certificates: Option<String>,
    /// The server's certificate must have one of these names; by default `sni`.
    pub subject_alt_names: Vec<String>,
    pub client_certificate: Option<String>,
    pub private_key: Option<String>,
    pub insecure_skip_verify: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientTlsMode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

#[derive(Debug, Clone)]
pub struct ServiceEntry {
    pub hosts: Vec<WithPosition<String>>,
    pub addresses: Vec<String>,
    pub ports: Vec<ServiceEntryPort>,
    /// MESH_EXTERNAL (the default) or MESH_INTERNAL.
    pub mesh_internal: bool,
    pub resolution: Resolution,
    pub endpoints: Vec<WorkloadEntry>,
    /// The pods of its namespace that are endpoints too; if empty, none.
    pub workload_selector: Labels,
    pub export_to: Vec<WithPosition<String>>,
}

#[derive(Debug, Clone)]
pub struct ServiceEntryPort {
    pub at: Position,
    pub number: u16,
    pub name: String,
    pub protocol: Protocol,
    pub target_port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    None,
    Static,
    Dns,
    DnsRoundRobin,
    DynamicDns,
}

#[derive(Debug, Clone)]
pub struct WorkloadEntry {
    pub at: Position,
    pub address: WithPosition<String>,
    /// By the entry's port name.
    pub ports: Vec<(String, u16)>,
    pub labels: Labels,
    /// 1 by default.
    pub weight: u32,
}

#[derive(Debug, Clone)]
pub struct Ingress {
    pub ingress_class: Option<String>,
    pub default_backend: Option<IngressBackend>,
    pub rules: Vec<IngressRule>,
    pub tls: Vec<IngressTls>,
    /// `nginx.ingress.kubernetes.io/rewrite-target`.
    pub rewrite_target: Option<String>,
}

#[derive(Debug, Clone)]
pub struct IngressRule {
    /// None for every host.
    pub host: Option<WithPosition<String>>,
    pub paths: Vec<IngressPath>,
}

#[derive(Debug, Clone)]
pub struct IngressPath {
    pub at: Position,
    /// As written; `/` by default.
    pub path: String,
    pub path_type: PathType,
    pub backend: IngressBackend,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathType {
    Exact,
    Prefix,
    /// The default: a prefix by elements. A trailing `/*` is removed.
    ImplementationSpecific,
}

#[derive(Debug, Clone)]
pub struct IngressBackend {
    pub service_name: WithPosition<String>,
    pub service_port: PortReference,
}

#[derive(Debug, Clone)]
pub struct IngressTls {
    pub at: Position,
    /// Empty for every host.
    pub hosts: Vec<String>,
    pub secret_name: Option<WithPosition<String>>,
}

impl IngressTls {
    /// As the settings of a server of Istio's Gateway.
    pub fn server_tls(&self) -> ServerTls {
        let certificate = self.secret_name.iter().map(|name| ServerCertificate {
            field: "secretName".to_owned(),
            source: CertificateSource::Secret {
                name: name.clone(),
                namespace: None,
            },
        });
        ServerTls::new(self.at.clone(), TlsMode::Simple, certificate.collect())
    }
}

impl StringMatch {
    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::PathPrefix(prefix) => text
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex { regex, .. } => regex.is_match(text),
            Self::Present => true,
        }
    }

    /// The pattern as written, for messages.
    pub fn pattern(&self) -> &str {
        match self {
            Self::Exact(text)
            | Self::Prefix(text)
            | Self::PathPrefix(text)
            | Self::Regex { pattern: text, .. } => text,
            Self::Present => "*",
        }
    }
}
