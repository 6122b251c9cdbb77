//! Mirrored copies of a request. They never slow or fail the caller; only metrics and
//! log show what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use galleria_mesh::{Forward, MirrorForward};
use http::request;
use http_body_util::BodyExt;
use tokio::time::timeout_at;

use super::call_log::{CallLog, Record};
use super::drive::Drive;
use super::{CallScope, Source, answer, with_span};
use crate::body::{ByteCount, Rest, tee};
use crate::telemetry::access_log::RequestFacts;
use crate::telemetry::trace::{Span, spans};
use crate::{Body, Request};

/// Starts the copies that the route asks for. Returns the body for the caller's own
/// request.
pub(super) fn send(
    scope: &CallScope<'_>,
    forward: &Forward,
    parts: &request::Parts,
    body: Body,
) -> Body {
    let mirrors: Vec<_> = forward.mirrors(&mut rand::rng()).collect();
    if mirrors.is_empty() {
        return body;
    }
    // The copies are complete even if the service responds without reading.
    let rest = match scope.source {
        Source::Workload(..) => Rest::All,
        Source::Edge { .. } | Source::Host { .. } => Rest::bounded(parts),
    };
    let incomplete: Vec<_> = mirrors.iter().map(|_| Arc::default()).collect();
    let (body, copies) = tee(body, rest, &incomplete);
    for ((mirror, copy), incomplete) in mirrors.into_iter().zip(copies).zip(incomplete) {
        start(scope, mirror, parts.clone(), copy, incomplete);
    }
    body
}

/// `incomplete` says that the copy of the body is incomplete.
fn start(
    scope: &CallScope<'_>,
    mirror: MirrorForward,
    parts: request::Parts,
    body: Body,
    incomplete: Arc<AtomicBool>,
) {
    let (mesh, live) = (scope.mesh.clone(), scope.live.clone());
    let source = scope.source.clone();
    let span = scope.span(spans::MIRROR);
    let context = with_span(span.as_ref(), scope.context.clone());
    tokio::spawn(async move {
        let scope = CallScope {
            mesh: &mesh,
            live: &live,
            source: &source,
            context: &context,
            timeout: None,
        };
        let carried = carry(&scope, &mirror, parts, body, span).await;
        let sent = carried && !incomplete.load(Ordering::Relaxed);
        mirror.cluster.count_mirror(mirror.caller, sent);
    });
}

/// Whether an endpoint responded in time.
async fn carry(
    scope: &CallScope<'_>,
    mirror: &MirrorForward,
    parts: request::Parts,
    body: Body,
    span: Option<Span>,
) -> bool {
    let method = parts.method.clone();
    let request = Request::from_parts(parts, body);
    let log = &scope.mesh.access_log;
    let facts =
        (log.is_on() || span.is_some()).then(|| RequestFacts::of(&request, scope.source.address()));
    let record = Record::new(
        &method,
        scope.source.workload(),
        scope.context.clone(),
        facts,
        ByteCount::default(),
    );
    let mut call_log = CallLog::new(scope.mesh.clone(), record, span);
    let connection = scope.source.connection(&mirror.cluster);
    call_log
        .record
        .forwarded(scope.live, &mirror.cluster, connection, "mirror");
    let (parts, body) = request.into_parts();
    let drive = Drive::mirror(scope, mirror, parts, body);
    let deadline = drive.body_deadline();
    let answered = drive.run(&mut call_log).await;
    let is_response = answered.is_ok();
    let response = answered.unwrap_or_else(|reply| answer(reply, false, &mut call_log));
    let mut body = call_log.watch(&method, response).into_body();
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    is_response
        && match deadline {
            None => {
                read.await;
                true
            }
            Some(deadline) => timeout_at(deadline.into(), read).await.is_ok(),
        }
}
