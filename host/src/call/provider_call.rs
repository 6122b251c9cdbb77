//! Calls that the mesh itself makes to decide about a request: to services of external
//! authorization and of rate limits. They pass through the mesh as calls of the workload for
//! which they decide, one step deeper than the request, so that a service that is asked
//! about its own requests is not asked without end.

mod grpc;
mod header;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use galleria_mesh as mesh;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

pub(super) use self::grpc::{GrpcError, unary};
pub(super) use self::header::HeaderMessage;
use super::{Call, CallScope, Source};
use crate::body::{Count, Rest, empty, full};
use crate::context::{REQUEST_ID, RequestContext};

/// Bytes of an answer: pages of a login are smaller.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// The authority that a call is sent with, where it is not the one by which it is routed.
#[derive(Debug, Clone)]
pub(super) struct SentAuthority(pub(super) HeaderValue);

/// A provider's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) trailers: HeaderMap,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("it took longer than {0:?}")]
    Timeout(Duration),
    #[error("the answer ended early or is larger than {ANSWER_BYTES_MAX} bytes")]
    Body,
}

/// Calls a provider for `workload`, for no longer than `patience` and the caller's own
/// timeout. Boxed, since it is a call within a call.
pub(super) fn ask<'a>(
    scope: &'a CallScope<'_>,
    workload: &'a Arc<mesh::Workload>,
    request: Request<Bytes>,
    patience: Duration,
) -> BoxFuture<'a, Result<Answer, ProviderError>> {
    let patience = scope.timeout.map_or(patience, |it| it.min(patience));
    let call = call(scope, workload, request, patience);
    async move {
        let answered = async {
            let (head, body) = scope.mesh.call(call).await.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|_| ProviderError::Body)?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                trailers: body.trailers().cloned().unwrap_or_default(),
                body: body.to_bytes(),
            })
        };
        let answered = timeout(patience, answered).await;
        answered.unwrap_or(Err(ProviderError::Timeout(patience)))
    }
    .boxed()
}

fn call(
    scope: &CallScope<'_>,
    workload: &Arc<mesh::Workload>,
    request: Request<Bytes>,
    patience: Duration,
) -> Call {
    let context = RequestContext {
        hops: scope.context.hops + 1,
        from_peer: false,
        recording: None,
        ..RequestContext::clone(scope.context)
    };
    let (mut head, body) = request.into_parts();
    head.headers.insert(REQUEST_ID, context.request_id.clone());
    let body = match body.is_empty() {
        true => empty(),
        false => full(body),
    };
    let (body, received) = Count::boxed(body, Rest::All);
    Call {
        source: Source::Workload(workload.clone(), None),
        request: Request::from_parts(head, body),
        received,
        refusal: None,
        context: Arc::new(context),
        timeout: Some(patience),
    }
}
