//! Request authentication: JSON Web Tokens in requests.
//!
//! Decides as Envoy's `jwt_authn` filter does with the configuration that Istio makes of the
//! RequestAuthentications of a workload. A token that is present must be valid; a request
//! without one passes and has no principal. Whether a request needs a token is a matter of
//! authorization.
//!
//! Time is passed in, and so are the keys that were fetched ([`KeySetCache`]): where some
//! are absent, the host fetches them and asks again.

mod accepted;
mod algorithm;
mod cache;
mod key_set;
mod legacy;
mod location;
mod rule;
mod status;
mod token;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, HeaderName, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Uri};

pub use cache::{FETCH_INTERVAL, FETCH_TIMEOUT, FRESH, KEPT_MAX, KeySetCache, RemoteKeySet};
pub use key_set::{KeySet, KeySetError};
pub(crate) use legacy::{LegacyTokens, PolicyByPort};
pub(crate) use rule::TokenRule;
pub use status::JwtStatus;
pub use token::TOKEN_BYTES_MAX;

use self::rule::{NotAccepted, RequestTokens};
use super::{InboundPolicies, InboundRequest, RequestPrincipal};
use crate::{LocalReply, RequestHead};

/// The RequestAuthentications that select the workload.
#[derive(Debug, Default)]
pub(crate) struct TokenRules {
    /// Of all policies, by issuer.
    rules: Vec<Arc<TokenRule>>,
    /// Of Istio 1.2's policies; not in use if there are `rules`.
    legacy: PolicyByPort<LegacyTokens>,
}

/// The time at which a token is verified.
#[derive(Debug, Clone, Copy)]
pub struct TokenTime {
    /// Since 1970.
    pub unix: Duration,
    pub monotonic: Instant,
}

/// The result for a request that is not refused.
#[derive(Debug)]
pub enum TokenDecision {
    Admitted(Authenticated),
    /// These sets have to be fetched; then decide again.
    Fetch(Vec<Arc<RemoteKeySet>>),
}

/// A request whose tokens are valid, or that has none.
#[derive(Debug, Default)]
pub struct Authenticated {
    pub principal: Option<Arc<RequestPrincipal>>,
    /// Sets that should be renewed; the request need not wait.
    pub stale: Vec<Arc<RemoteKeySet>>,
    edits: Vec<Edit>,
}

/// A change to the request before it is forwarded.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Edit {
    /// Of a header that only the host may set.
    Take(HeaderName),
    Add(HeaderName, HeaderValue),
    RemoveToken(HeaderName),
    RemoveParam(String),
}

impl TokenRules {
    pub(crate) fn new(mut rules: Vec<Arc<TokenRule>>, legacy: PolicyByPort<LegacyTokens>) -> Self {
        rules.sort_by(|one, other| one.issuer.cmp(&other.issuer));
        Self { rules, legacy }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.legacy.is_empty()
    }

    fn decide(
        &self,
        request: &InboundRequest<'_>,
        time: TokenTime,
        cache: &KeySetCache,
    ) -> Result<TokenDecision, LocalReply> {
        let head = &request.head;
        if self.rules.is_empty() {
            return match self.legacy.at(request.port) {
                Some(policy) => policy.decide(request, time, cache),
                None => Ok(TokenDecision::Admitted(Authenticated::default())),
            };
        }
        let mut tokens = RequestTokens::new(head, time, cache);
        let outputs = self.rules.iter().flat_map(|rule| rule.outputs());
        tokens.edits = outputs.map(|header| Edit::Take(header.clone())).collect();
        if is_preflight(head) {
            return Ok(TokenDecision::Admitted(tokens.admitted(None)));
        }
        if let [rule] = &*self.rules {
            return match rule.verify(&mut tokens) {
                Ok(principal) => Ok(TokenDecision::Admitted(tokens.admitted(Some(principal)))),
                Err(NotAccepted::Invalid(JwtStatus::Missed)) => {
                    Ok(TokenDecision::Admitted(tokens.admitted(None)))
                }
                Err(NotAccepted::Invalid(status)) => Err(status.reply(head)),
                Err(NotAccepted::Pending(remote)) => Ok(TokenDecision::Fetch(vec![remote])),
            };
        }
        self.decide_by_several(tokens)
    }

    /// Istio accepts a request if one of the issuers does, or, after that, each of them either
    /// accepts it or finds no token in it.
    fn decide_by_several(
        &self,
        mut tokens: RequestTokens<'_>,
    ) -> Result<TokenDecision, LocalReply> {
        let (mut statuses, mut absent) = (Vec::new(), Vec::new());
        for rule in &self.rules {
            match rule.verify(&mut tokens) {
                Ok(principal) => {
                    return Ok(TokenDecision::Admitted(tokens.admitted(Some(principal))));
                }
                Err(NotAccepted::Invalid(status)) => statuses.push(status),
                Err(NotAccepted::Pending(remote)) => absent.push(remote),
            }
        }
        if !absent.is_empty() {
            return Ok(TokenDecision::Fetch(absent));
        }
        match self.verify_rest(&mut tokens) {
            Ok(principal) => Ok(TokenDecision::Admitted(tokens.admitted(principal))),
            Err(NotAccepted::Pending(remote)) => Ok(TokenDecision::Fetch(vec![remote])),
            Err(NotAccepted::Invalid(status)) => {
                statuses.push(status);
                Err(overall(&statuses, status).reply(tokens.head))
            }
        }
    }

    /// The second alternative, for a request that no issuer accepts. Tokens that the first
    /// attempt has verified and removed are not there any more.
    fn verify_rest(
        &self,
        tokens: &mut RequestTokens<'_>,
    ) -> Result<Option<Arc<RequestPrincipal>>, NotAccepted> {
        let mut principal = None;
        for rule in &self.rules {
            match rule.verify(tokens) {
                Ok(own) => principal = Some(own),
                Err(NotAccepted::Invalid(JwtStatus::Missed)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(principal)
    }
}

impl Authenticated {
    /// Changes the headers of the request as the rules say.
    pub fn apply_headers(&self, headers: &mut HeaderMap) {
        for edit in &self.edits {
            match edit {
                Edit::Take(header) | Edit::RemoveToken(header) => {
                    headers.remove(header);
                }
                Edit::Add(header, value) => {
                    headers.append(header, value.clone());
                }
                Edit::RemoveParam(_) => {}
            }
        }
    }

    /// Removes tokens that are not forwarded from the query.
    pub fn apply_query(&self, uri: &mut Uri) {
        for edit in &self.edits {
            if let Edit::RemoveParam(name) = edit {
                location::remove_param(uri, name);
            }
        }
    }
}

/// The error of a request, as in Envoy: of several, the last one, unless it only says that a
/// token is absent or of another issuer.
fn overall(statuses: &[JwtStatus], last: JwtStatus) -> JwtStatus {
    let of_concern = |status: &&JwtStatus| !status.is_of_no_concern();
    *statuses.iter().rev().find(of_concern).unwrap_or(&last)
}

/// A browser asks for permission before it sends a request with a token.
fn is_preflight(head: &RequestHead<'_>) -> bool {
    let present = |name: HeaderName| head.headers.get(name).is_some_and(|it| !it.is_empty());
    head.method == Method::OPTIONS && present(ORIGIN) && present(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Verifies the tokens of the request. A request without a token has no principal.
///
/// # Errors
/// The reply for a request that is not admitted.
pub fn decide(
    policies: &InboundPolicies,
    request: &InboundRequest<'_>,
    time: TokenTime,
    cache: &KeySetCache,
) -> Result<TokenDecision, LocalReply> {
    policies.tokens.decide(request, time, cache)
}

/// Whether a RequestAuthentication selects the workload.
pub(crate) fn has_rules(policies: &InboundPolicies) -> bool {
    !policies.tokens.is_empty()
}

/// The reply for a request whose keys the host does not have in time.
pub fn keys_not_fetched(head: &RequestHead<'_>) -> LocalReply {
    JwtStatus::FetchFailed.reply(head)
}

/// Reads a token and verifies it with a key set, for the fuzzer: neither may panic.
///
/// # Errors
/// Why the token is not valid.
pub fn verify(token: &str, keys: &KeySet, now: Duration) -> Result<(), JwtStatus> {
    let token = token::Token::parse(token)?;
    token.validity.check(now.as_secs(), 0)?;
    keys.verify(&token)
}
