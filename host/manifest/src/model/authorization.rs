//! Authorization: Istio's AuthorizationPolicy, and its predecessors until Istio 1.5.

use super::Labels;
use crate::{Position, WithPosition};

/// Istio's AuthorizationPolicy.
#[derive(Debug, Clone)]
pub struct AuthorizationPolicy {
    pub action: AuthorizationAction,
    pub applies_to: PolicyScope,
    /// Any of them must match. Without rules, the policy matches no request: an ALLOW
    /// policy then allows nothing.
    pub rules: Vec<AuthorizationRule>,
}

/// `action`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorizationAction {
    Allow,
    Deny,
    Audit,
    /// An external service decides: the provider of this name.
    Custom(String),
}

/// Which workloads a policy selects.
#[derive(Debug, Clone)]
pub enum PolicyScope {
    /// Every workload of the namespace, or of the mesh in the root namespace.
    All,
    /// `selector.matchLabels`, not empty.
    Labels(Labels),
    /// `targetRefs`, in the policy's namespace.
    Targets(Vec<PolicyTarget>),
}

/// An entry of `targetRefs`.
#[derive(Debug, Clone)]
pub struct PolicyTarget {
    pub kind: PolicyTargetKind,
    pub name: WithPosition<String>,
}

/// `targetRefs[].kind`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyTargetKind {
    /// Of the Gateway API.
    Gateway,
    GatewayClass,
    Service,
}

/// One rule. Everything that is set must match.
#[derive(Debug, Clone)]
pub struct AuthorizationRule {
    pub at: Position,
    /// `from[].source`: any of them must match. Empty for every source.
    pub from: Vec<Vec<AttributeMatch>>,
    /// `to[].operation`: any of them must match. Empty for every operation.
    pub to: Vec<Vec<AttributeMatch>>,
    /// `when`: all of them must match.
    pub when: Vec<AttributeMatch>,
}

/// The values of an attribute that match, and those that do not. At least one list is not
/// empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeMatch {
    pub attribute: Attribute,
    /// Any of them must match.
    pub values: Vec<String>,
    /// None of them may match.
    pub not_values: Vec<String>,
}

/// What an [`AttributeMatch`] looks at: a field of a source or an operation, or the key of a
/// condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `principals`, `source.principal`
    SourcePrincipal,
    /// `namespaces`, `source.namespace`
    SourceNamespace,
    /// `serviceAccounts`, `source.serviceAccount`
    SourceServiceAccount,
    /// `trustDomains`, `source.trustDomain`
    SourceTrustDomain,
    /// `ipBlocks`, `source.ip`
    SourceIp,
    /// `remoteIpBlocks`, `remote.ip`
    RemoteIp,
    /// `requestPrincipals`, `request.auth.principal`
    RequestPrincipal,
    RequestAudiences,
    RequestPresenter,
    /// `request.headers[NAME]`
    RequestHeader(String),
    /// `request.auth.claims[A][B]`
    RequestClaim(Vec<String>),
    /// `hosts`
    Host,
    /// `methods`
    Method,
    /// `paths`
    Path,
    /// `ports`, `destination.port`
    DestinationPort,
    DestinationIp,
    ConnectionSni,
    /// `experimental.envoy.filters.FILTER[KEY]`, the whole key.
    EnvoyFilter(String),
}

/// ClusterRbacConfig or RbacConfig: where the roles of Istio until 1.5 are required.
#[derive(Debug, Clone)]
pub struct RbacConfig {
    pub mode: RbacMode,
    /// `enforcementMode: PERMISSIVE`: requests are judged, and not denied.
    pub is_permissive: bool,
}

/// `mode`
#[derive(Debug, Clone)]
pub enum RbacMode {
    Off,
    On,
    OnWithInclusion(RbacTarget),
    OnWithExclusion(RbacTarget),
}

/// `inclusion` and `exclusion`
#[derive(Debug, Clone, Default)]
pub struct RbacTarget {
    /// Full names of Services.
    pub services: Vec<String>,
    pub namespaces: Vec<String>,
}

/// What a role permits. Any of its rules must match.
#[derive(Debug, Clone)]
pub struct ServiceRole {
    pub rules: Vec<AccessRule>,
}

/// `spec.rules[]` of a ServiceRole.
#[derive(Debug, Clone)]
pub struct AccessRule {
    pub at: Position,
    /// Full names of Services of the role's namespace, with a `*` at one end.
    pub services: Vec<String>,
    /// Methods, paths and constraints.
    pub operation: Vec<AttributeMatch>,
    /// Constraints on the destination, which do not depend on the request.
    pub destination: Vec<DestinationConstraint>,
}

/// A constraint on the destination of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationConstraint {
    pub attribute: DestinationAttribute,
    pub values: Vec<String>,
}

/// The key of a [`DestinationConstraint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationAttribute {
    /// `destination.labels[NAME]`
    Label(String),
    /// `destination.name`, the name of the workload
    Name,
    Namespace,
    /// `destination.user`, the service account
    User,
}

/// Who has a role.
#[derive(Debug, Clone)]
pub struct ServiceRoleBinding {
    /// Any of them must match; each is a list of conditions that must all match. A subject
    /// without conditions is everybody.
    pub subjects: Vec<Vec<AttributeMatch>>,
    /// The name of a ServiceRole in the same namespace.
    pub role: WithPosition<String>,
    /// `mode: PERMISSIVE`: the binding is judged, and permits nothing.
    pub is_permissive: bool,
}

impl Default for AuthorizationPolicy {
    /// `spec: {}`, which allows nothing.
    fn default() -> Self {
        Self {
            action: AuthorizationAction::Allow,
            applies_to: PolicyScope::All,
            rules: Vec::new(),
        }
    }
}

impl AttributeMatch {
    /// Any of `values` must match.
    pub fn any_of(attribute: Attribute, values: Vec<String>) -> Self {
        Self {
            attribute,
            values,
            not_values: Vec::new(),
        }
    }
}
