//! Who a caller is: Istio's RequestAuthentication and PeerAuthentication, and the Policy and
//! MeshPolicy of Istio 1.2.

use std::time::Duration;

use super::{Labels, PolicyScope, PortReference, StringMatch};
use crate::{Position, WithPosition};

/// Which tokens the requests to a workload may have.
#[derive(Debug, Clone)]
pub struct RequestAuthentication {
    pub scope: PolicyScope,
    pub jwt_rules: Vec<JwtRule>,
}

/// One issuer of JSON Web Tokens.
#[derive(Debug, Clone)]
pub struct JwtRule {
    pub at: Position,
    /// `iss` of its tokens.
    pub issuer: String,
    /// Empty means any.
    pub audiences: Vec<String>,
    pub keys: JwtKeys,
    /// Where tokens are. If all three are empty, in `authorization: Bearer` and in the query
    /// parameter `access_token`.
    pub from_headers: Vec<JwtHeader>,
    pub from_params: Vec<String>,
    pub from_cookies: Vec<String>,
    /// The header that gets the payload, in base64url. Lower case.
    pub output_payload_to_header: Option<String>,
    pub output_claim_to_headers: Vec<ClaimToHeader>,
    pub forward_original_token: bool,
    /// Claims whose text is a list, besides `scope` and `permission`.
    pub space_delimited_claims: Vec<String>,
    /// How long a request for the keys can take; the host has a default.
    pub timeout: Option<Duration>,
}

/// The public keys of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwtKeys {
    /// A JSON Web Key Set.
    Inline(String),
    /// Its URL.
    Remote(String),
    /// Its URL is `jwks_uri` of the issuer's OpenID configuration.
    Discovered,
}

/// A header that can have a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtHeader {
    /// Lower case.
    pub name: String,
    /// What precedes the token, for example `Bearer `.
    pub prefix: String,
}

/// A header that gets the value of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimToHeader {
    /// Lower case.
    pub header: String,
    /// Nested claims are separated by dots.
    pub claim: String,
}

/// Which callers of a workload must prove who they are.
#[derive(Debug, Clone)]
pub struct PeerAuthentication {
    /// Empty selects every workload of the namespace, or of the mesh in the root namespace.
    pub selector: Labels,
    /// `None` inherits the mode of the wider policy.
    pub mode: Option<MutualTlsMode>,
    /// By the workload's own port.
    pub port_modes: Vec<(u16, Option<MutualTlsMode>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutualTlsMode {
    /// Connections are plain text.
    Disable,
    /// Both plain text and mutual TLS.
    Permissive,
    /// Only mutual TLS.
    Strict,
}

/// Istio 1.2's Policy and MeshPolicy.
#[derive(Debug, Clone)]
pub struct LegacyAuthentication {
    /// Empty means the whole namespace, or the mesh for a MeshPolicy.
    pub targets: Vec<LegacyTarget>,
    /// The mode of `peers`; `None` without peers, so that none must prove who it is.
    pub peer_mode: Option<MutualTlsMode>,
    pub origins: Vec<LegacyOrigin>,
    /// A request is accepted without a valid token too.
    pub origin_is_optional: bool,
    /// Whether `request.auth.principal` is that of the token and not that of the peer.
    pub binds_to_origin: bool,
}

/// A Service whose pods a legacy policy is for.
#[derive(Debug, Clone)]
pub struct LegacyTarget {
    /// The short name of the Service.
    pub name: WithPosition<String>,
    /// Ports of the Service; empty means all.
    pub ports: Vec<PortReference>,
}

#[derive(Debug, Clone)]
pub struct LegacyOrigin {
    pub rule: JwtRule,
    /// A request that meets one of these needs a token; empty means every request.
    pub triggers: Vec<TriggerRule>,
}

/// Which paths need a token.
#[derive(Debug, Clone)]
pub struct TriggerRule {
    pub excluded: Vec<PathMatch>,
    /// Empty means all paths that are not excluded.
    pub included: Vec<PathMatch>,
}

/// A path in a trigger rule.
#[derive(Debug, Clone)]
pub enum PathMatch {
    Match(StringMatch),
    Suffix(String),
}

/// What begins the header key of a claim in a VirtualService.
const CLAIM_PREFIX: &str = "@request.auth.claims";

/// The path of a claim in a header key: `@request.auth.claims.a.b` or
/// `@request.auth.claims[a][b]`; `None` if the key is not one.
pub fn claim_path(key: &str) -> Option<Vec<String>> {
    let (prefix, rest) = key.split_at_checked(CLAIM_PREFIX.len())?;
    if !prefix.eq_ignore_ascii_case(CLAIM_PREFIX) {
        return None;
    }
    let names: Vec<&str> = match rest.strip_prefix('.') {
        Some(names) => names.split('.').collect(),
        None => rest
            .strip_prefix('[')?
            .strip_suffix(']')?
            .split("][")
            .collect(),
    };
    let is_empty = names.iter().any(|name| name.is_empty());
    (!is_empty).then(|| names.into_iter().map(str::to_owned).collect())
}
