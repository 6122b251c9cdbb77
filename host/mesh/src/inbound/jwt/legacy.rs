//! Tokens by the policies of Istio 1.2: `origins`, which can make a token necessary.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{LegacyAuthentication, LegacyOrigin, PathMatch, TriggerRule};

use super::cache::KeySetCache;
use super::rule::{NotAccepted, RequestTokens, TokenRule};
use super::{Authenticated, JwtStatus, TokenDecision, TokenTime, is_preflight};
use crate::LocalReply;
use crate::inbound::{InboundRequest, Peer, RequestPrincipal};

/// A policy of Istio 1.2 for each port of a workload: such a policy is for ports of
/// Services, and the most specific one replaces the wider ones.
#[derive(Debug)]
pub(crate) struct PolicyByPort<T> {
    pub(crate) default: Option<Arc<T>>,
    /// `None` inside where a policy for the port demands nothing.
    pub(crate) ports: HashMap<u16, Option<Arc<T>>>,
}

/// The tokens that one policy demands.
#[derive(Debug)]
pub(crate) struct LegacyTokens {
    origins: Vec<Origin>,
    is_optional: bool,
    binds_to_origin: bool,
}

#[derive(Debug)]
struct Origin {
    rule: TokenRule,
    triggers: Vec<TriggerRule>,
}

impl<T> Default for PolicyByPort<T> {
    fn default() -> Self {
        Self {
            default: None,
            ports: HashMap::new(),
        }
    }
}

impl<T> PolicyByPort<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.default.is_none() && self.ports.values().all(Option::is_none)
    }

    pub(crate) fn at(&self, port: u16) -> Option<&T> {
        match self.ports.get(&port) {
            Some(own) => own.as_deref(),
            None => self.default.as_deref(),
        }
    }
}

impl LegacyTokens {
    /// `None` if the policy has no `origins`.
    pub(crate) fn new(policy: &LegacyAuthentication) -> Option<Self> {
        let origin = |origin: &LegacyOrigin| Origin {
            rule: TokenRule::new(&origin.rule),
            triggers: origin.triggers.clone(),
        };
        (!policy.origins.is_empty()).then(|| Self {
            origins: policy.origins.iter().map(origin).collect(),
            is_optional: policy.origin_is_optional,
            binds_to_origin: policy.binds_to_origin,
        })
    }

    /// Requires a valid token of one of the origins that the path triggers.
    pub(super) fn decide(
        &self,
        request: &InboundRequest<'_>,
        time: TokenTime,
        cache: &KeySetCache,
    ) -> Result<TokenDecision, LocalReply> {
        let head = &request.head;
        let path = head.path;
        let triggered = self.origins.iter().filter(|it| it.is_triggered(path));
        let mut absent = Vec::new();
        let mut needs_token = false;
        for origin in triggered {
            needs_token = true;
            let mut tokens = RequestTokens::new(head, time, cache);
            match origin.rule.verify(&mut tokens) {
                Ok(principal) => {
                    let principal =
                        self.bound(principal, request.peer, &request.destination.trust_domain);
                    return Ok(TokenDecision::Admitted(tokens.admitted(principal)));
                }
                Err(NotAccepted::Invalid(_)) => {}
                Err(NotAccepted::Pending(remote)) => absent.push(remote),
            }
        }
        if !absent.is_empty() {
            return Ok(TokenDecision::Fetch(absent));
        }
        if needs_token && !self.is_optional && !is_preflight(head) {
            return Err(JwtStatus::OriginFailed.reply(head));
        }
        Ok(TokenDecision::Admitted(Authenticated::default()))
    }

    /// The principal, with the name of the peer where the policy binds to that. A caller
    /// without identity has none then.
    fn bound(
        &self,
        principal: Arc<RequestPrincipal>,
        peer: &Peer,
        trust_domain: &str,
    ) -> Option<Arc<RequestPrincipal>> {
        if self.binds_to_origin {
            return Some(principal);
        }
        let (namespace, account) = peer.account()?;
        Some(Arc::new(RequestPrincipal {
            issuer: trust_domain.to_owned(),
            subject: format!("ns/{namespace}/sa/{account}"),
            ..Arc::unwrap_or_clone(principal)
        }))
    }
}

impl Origin {
    fn is_triggered(&self, path: &str) -> bool {
        let triggers = |rule: &TriggerRule| {
            let any = |paths: &[PathMatch]| paths.iter().any(|it| matches(it, path));
            !any(&rule.excluded) && (rule.included.is_empty() || any(&rule.included))
        };
        self.triggers.is_empty() || self.triggers.iter().any(triggers)
    }
}

fn matches(pattern: &PathMatch, path: &str) -> bool {
    match pattern {
        PathMatch::Match(pattern) => pattern.matches(path),
        PathMatch::Suffix(suffix) => path.ends_with(suffix.as_str()),
    }
}
