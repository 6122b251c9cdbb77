//! How a workload learns who calls it, in an explanation: mutual TLS, and the token.

use std::sync::Arc;

use galleria_manifest::model::{ClientTlsMode, MutualTlsMode};

use super::steps::{AuthenticationStep, MutualTlsStep, TokenStep};
use crate::inbound::jwt::{self, KeySetCache, TokenDecision, TokenTime};
use crate::inbound::peer::{self, Connection};
use crate::inbound::{InboundPolicies, InboundRequest, Peer, RequestPrincipal};

/// What the later stages know about the caller.
pub(super) struct Authenticated {
    /// `None` if no policy says anything about the caller.
    pub(super) step: Option<AuthenticationStep>,
    pub(super) peer: Peer,
    pub(super) principal: Option<Arc<RequestPrincipal>>,
}

/// `tls` is the mode of the DestinationRule by which the caller connects, and `workload` the
/// name of the destination.
pub(super) fn authenticate(
    workload: &str,
    policies: &InboundPolicies,
    request: &InboundRequest<'_>,
    tls: Option<ClientTlsMode>,
    time: TokenTime,
) -> Authenticated {
    // A caller without a sidecar connects in plain text.
    let connection = match request.peer {
        Peer::Unknown => Connection::PlainText,
        _ => tls.into(),
    };
    let proven = match peer::proves_identity(policies, request.port, connection) {
        true => request.peer.clone(),
        false => request.peer.unproven(),
    };
    let inbound = InboundRequest {
        peer: &proven,
        ..*request
    };
    let mutual_tls = peer::mode(policies, request.port).map(|(mode, policy)| MutualTlsStep {
        mode: match mode {
            MutualTlsMode::Strict => "STRICT",
            MutualTlsMode::Permissive => "PERMISSIVE",
            MutualTlsMode::Disable => "DISABLE",
        }
        .to_owned(),
        policy: policy.to_owned(),
        is_proven: connection != Connection::PlainText && proven.account().is_some(),
        details: peer::decide(policies, &inbound, connection)
            .err()
            .map(|reply| reply.details.into_owned()),
    });
    let (token, principal) = token(policies, &inbound, time);
    let step = (mutual_tls.is_some() || token.is_some()).then(|| AuthenticationStep {
        workload: workload.to_owned(),
        mutual_tls,
        token,
    });
    Authenticated {
        step,
        peer: proven,
        principal,
    }
}

/// Keys that have to be fetched are not known here.
pub(super) fn token(
    policies: &InboundPolicies,
    request: &InboundRequest<'_>,
    time: TokenTime,
) -> (Option<TokenStep>, Option<Arc<RequestPrincipal>>) {
    if !jwt::has_rules(policies) {
        return (None, None);
    }
    let mut step = TokenStep {
        principal: None,
        refused: None,
        keys: Vec::new(),
    };
    let mut principal = None;
    match jwt::decide(policies, request, time, &KeySetCache::default()) {
        Ok(TokenDecision::Admitted(authenticated)) => {
            step.principal = authenticated
                .principal
                .as_deref()
                .map(RequestPrincipal::name);
            principal = authenticated.principal;
        }
        Ok(TokenDecision::Fetch(remotes)) => {
            let urls = remotes.iter().map(|remote| remote.url.clone());
            step.keys = urls.collect();
        }
        Err(reply) => {
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            step.refused = Some(format!("{}: {text}", reply.status.as_u16()));
        }
    }
    (Some(step), principal)
}
