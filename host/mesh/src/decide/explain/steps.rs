//! The steps of a decision as data, for `galleria explain` and the admin API.

use galleria_manifest::Position;
use serde::Serialize;

use crate::ObjectRef;
use crate::inbound::authorization::AuthorizationStep;

/// Every step of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `edge`, or `namespace/name` of the calling workload.
    pub caller: String,
    pub method: String,
    pub authority: String,
    pub path: String,
    /// At the edge: the listener, and the server of the Gateway that serves the host.
    pub listener: Option<ListenerStep>,
    /// The host whose rules apply, as declared; `None` if nothing declares it.
    pub host: Option<String>,
    /// At the edge: what the gateway makes of the request's token; `None` if it verifies none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenStep>,
    /// At the edge: what the policies of the gateway decide; `None` without such policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AuthorizationStep>,
    /// The VirtualService or Ingress of the chosen rule.
    pub virtual_service: Option<Reference>,
    /// Every rule of the host in order, including those after the chosen one.
    pub rules: Vec<RuleStep>,
    /// The index of the chosen rule in `rules`.
    pub chosen: Option<usize>,
    /// `forward`, `redirect`, `direct response`, `preflight` or `refuse`.
    pub action: String,
    /// The mesh's own reply, if it is certain.
    pub reply: Option<ReplyStep>,
    pub fault: Option<FaultStep>,
    pub timeout: Option<String>,
    pub retries: Option<RetryStep>,
    pub destinations: Vec<DestinationStep>,
    pub mirrors: Vec<MirrorStep>,
}

/// A place in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reference {
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub at: Place,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStep {
    pub port: u16,
    /// The server with the most specific host; `None` if no server has the host.
    pub gateway: Option<Reference>,
    pub server: Option<Place>,
    pub server_name: Option<String>,
    pub https_redirect: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleStep {
    pub name: String,
    pub object: Option<Reference>,
    pub at: Option<Place>,
    pub matched: bool,
    /// One of them must match. Without blocks, the rule matches every request.
    pub blocks: Vec<BlockStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockStep {
    pub at: Option<Place>,
    pub matched: bool,
    pub conditions: Vec<ConditionStep>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionStep {
    pub field: String,
    pub expected: String,
    pub actual: Option<String>,
    pub matched: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplyStep {
    pub status: u16,
    pub flags: String,
    pub details: String,
    pub location: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultStep {
    pub delay: Option<String>,
    pub delay_percent: f64,
    /// `503`, or `grpc 14`.
    pub abort: Option<String>,
    pub abort_percent: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryStep {
    /// The maximum number of attempts, including the first.
    pub max_attempts: u32,
    pub retry_on: String,
    pub per_try_timeout: Option<String>,
    pub backoff: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationStep {
    pub host: String,
    pub subset: Option<String>,
    pub at: Option<Place>,
    pub weight: u32,
    /// The share of all requests, from 0 to 1.
    pub share: f64,
    /// Envoy's name of the cluster, also if the cluster does not exist.
    pub cluster: String,
    pub exists: bool,
    pub destination_rule: Option<Reference>,
    pub load_balancer: Option<String>,
    pub limits: Option<LimitStep>,
    pub outlier_detection: Option<String>,
    pub endpoints: Vec<EndpointStep>,
    /// How the endpoints' workloads learn who calls, for each that has policies about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authentication: Vec<AuthenticationStep>,
    /// What the policies of the endpoints' workloads decide, for each workload that has any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub authorization: Vec<AuthorizationStep>,
}

/// How a workload learns who calls it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationStep {
    /// `namespace/name`
    pub workload: String,
    /// `None` without a PeerAuthentication.
    pub mutual_tls: Option<MutualTlsStep>,
    /// `None` without a RequestAuthentication.
    pub token: Option<TokenStep>,
}

/// The mode of mutual TLS of a workload's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MutualTlsStep {
    /// `STRICT`, `PERMISSIVE` or `DISABLE`.
    pub mode: String,
    /// The PeerAuthentication, or the policy of Istio 1.2, as `namespace/name`.
    pub policy: String,
    /// Whether the connection proves who calls.
    pub is_proven: bool,
    /// `response_code_details` of a connection that is closed.
    pub details: Option<String>,
}

/// The token of a request. Without any of the fields, the request has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenStep {
    /// `ISSUER/SUBJECT` of a valid token.
    pub principal: Option<String>,
    /// Status and text of the refusal.
    pub refused: Option<String>,
    /// Keys that only a request fetches; without them the token cannot be verified.
    pub keys: Vec<String>,
}

/// `connectionPool`, and how much of it this caller is using.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitStep {
    pub max_requests: Option<u32>,
    pub max_connections: Option<u32>,
    pub max_pending: u32,
    pub active: u32,
    pub pending: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStep {
    /// `namespace/pod`, or `host:port`.
    pub name: String,
    pub eligible: bool,
    /// `ready`, `not ready`, `ejected`, or `ejected, but still used since too few are healthy`.
    pub reason: String,
    pub workload: Option<String>,
    pub target: String,
    pub active_requests: u32,
    /// What the NetworkPolicies of both ends decide; empty where none governs.
    pub network: Vec<NetworkStep>,
}

/// The NetworkPolicies of one end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStep {
    pub allowed: bool,
    /// The policy that allows the connection, or the first one that governs it.
    pub policy: Reference,
    pub message: String,
    /// `%RESPONSE_CODE_DETAILS%` of the denial.
    pub details: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MirrorStep {
    pub cluster: String,
    pub exists: bool,
    pub percent: f64,
}

impl From<&Position> for Place {
    fn from(position: &Position) -> Self {
        Self {
            file: position.file.display().to_string(),
            line: position.line,
            column: position.column,
        }
    }
}

impl From<&ObjectRef> for Reference {
    fn from(object: &ObjectRef) -> Self {
        Self {
            kind: object.kind.into(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
            at: Place::from(&object.at),
        }
    }
}
