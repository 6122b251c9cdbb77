//! External authorization: asks the service that a CUSTOM policy names.
//!
//! Whether to ask, and what follows from the answer, is decided in
//! `galleria_mesh::inbound::external`. A service that is slow, sends too much or fails costs
//! only the requests that it is asked about.

mod check;

use std::sync::Arc;

use bytes::Bytes;
use galleria_mesh as mesh;
use galleria_mesh::inbound::InboundRequest;
pub(super) use galleria_mesh::inbound::external::decide as find_provider;
use galleria_mesh::inbound::external::{
    CheckBody, CheckProtocol, ExtAuthzProvider, HttpCheck, Mutations, Verdict,
};
use galleria_mesh::{LocalReply, RequestHead};
use http::HeaderValue;

use super::CallScope;
use super::provider_call::{Answer, GrpcError, ProviderError, SentAuthority, ask, unary};
use crate::Body;
use crate::body::read_beginning;
use crate::causes::with_causes;
use crate::telemetry::metrics::{DecisionKind, DecisionResult};

const METHOD: &str = "envoy.service.auth.v3.Authorization/Check";

/// Why a service gave no decision.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("the request about the request is not valid")]
    Request(#[from] http::Error),
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error(transparent)]
    Grpc(#[from] GrpcError),
}

/// What an allowed request becomes.
pub(super) struct Allowed {
    pub(super) mutations: Mutations,
    /// Whether the gateway chooses the route by the changed headers.
    pub(super) clear_route_cache: bool,
}

/// Asks `provider` whether the request is allowed. `body` is that of the request, and stays
/// whole.
///
/// # Errors
/// The reply for a request that is not admitted.
pub(super) async fn authorize(
    scope: &CallScope<'_>,
    provider: &ExtAuthzProvider,
    request: &InboundRequest<'_>,
    workload: &Arc<mesh::Workload>,
    body: &mut Body,
) -> Result<Allowed, LocalReply> {
    let checked = beginning(provider, body).await?;
    let verdict = check(scope, provider, request, workload, checked.as_ref()).await;
    let verdict = verdict.unwrap_or_else(|error| {
        let cause = with_causes(&error);
        let provider = provider.name.as_str();
        tracing::debug!(provider, cause, "external authorization gives no decision");
        Verdict::Failed
    });
    let result = match &verdict {
        Verdict::Allowed(_) => DecisionResult::Ok,
        Verdict::Denied(_) => DecisionResult::Denied,
        Verdict::Failed => DecisionResult::Error,
    };
    let decisions = &scope.mesh.metrics.decisions;
    decisions.count(DecisionKind::ExternalAuthorization, &provider.name, result);
    let mutations = match verdict {
        Verdict::Allowed(mutations) => mutations,
        Verdict::Denied(reply) => return Err(reply),
        Verdict::Failed => provider.without_verdict()?,
    };
    Ok(Allowed {
        mutations,
        clear_route_cache: provider.clear_route_cache,
    })
}

/// The part of the body that the provider gets.
///
/// # Errors
/// The reply for a body that is too large.
async fn beginning(
    provider: &ExtAuthzProvider,
    body: &mut Body,
) -> Result<Option<CheckBody>, LocalReply> {
    let Some(limits) = provider.body else {
        return Ok(None);
    };
    let (bytes, is_partial) = read_beginning(body, limits.bytes_max).await;
    if is_partial && !limits.allows_partial {
        return Err(LocalReply::request_payload_too_large());
    }
    Ok(Some(CheckBody { bytes, is_partial }))
}

async fn check(
    scope: &CallScope<'_>,
    provider: &ExtAuthzProvider,
    request: &InboundRequest<'_>,
    workload: &Arc<mesh::Workload>,
    body: Option<&CheckBody>,
) -> Result<Verdict, CheckError> {
    match &provider.protocol {
        CheckProtocol::Http(http) => {
            let question = question(http, &provider.authority, &request.head, body)?;
            let answer = ask(scope, workload, question, provider.timeout).await?;
            let Answer {
                status,
                headers,
                body,
                ..
            } = answer;
            Ok(http.verdict(status, &headers, body))
        }
        CheckProtocol::Grpc => {
            let packs_as_bytes = provider.body.is_some_and(|it| it.packs_as_bytes);
            let id = scope.context.request_id.to_str().unwrap_or_default();
            let question = check::question(request, id, body, packs_as_bytes);
            let method = (provider.authority.as_str(), METHOD);
            let answered = unary(scope, workload, method, &question, provider.timeout);
            Ok(check::verdict(answered.await?))
        }
    }
}

/// The question, with the host of the request on the wire.
fn question(
    http: &HttpCheck,
    authority: &str,
    head: &RequestHead<'_>,
    body: Option<&CheckBody>,
) -> Result<http::Request<Bytes>, http::Error> {
    let mut question = http.request(head, authority, body)?;
    let sent = HeaderValue::from_str(head.authority)?;
    question.extensions_mut().insert(SentAuthority(sent));
    Ok(question)
}
