//! Mirrored copies of a request. They never slow or fail the caller; only metrics and
//! log show what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use galleria_mesh::{Forward, MirrorForward, PickContext};
use http::request;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::attempt::Attempt;
use super::call_log::{CallLog, Record};
use super::{CallScope, Destination, Source, answer, with_span};
use crate::body::{ByteCount, Rest, tee};
use crate::telemetry::access_log::RequestFacts;
use crate::telemetry::trace::{Span, spans};
use crate::{Body, Request};

/// How long a mirrored request can take.
const TIME_MAX: Duration = Duration::from_secs(15);

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
        Source::Workload(_) => Rest::All,
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
        // A timeout drops the copy, which ends its call.
        let carried = timeout(TIME_MAX, carry(&scope, &mirror, parts, body, span)).await;
        let sent = carried.unwrap_or(false) && !incomplete.load(Ordering::Relaxed);
        mirror.cluster.count_mirror(mirror.caller, sent);
    });
}

/// Whether an endpoint responded.
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
    call_log
        .record
        .forwarded(scope.live, &mirror.cluster, "mirror");
    let context = PickContext {
        caller: mirror.caller,
        now: Instant::now(),
        hash: None,
        tried: &[],
    };
    let at = Destination {
        live: scope.live.clone(),
        cluster: mirror.cluster.clone(),
    };
    let picked = at.cluster.pick(&context, &mut rand::rng());
    let answered = match picked {
        Err(reply) => Err(reply),
        Ok(picked) => {
            let picked = Arc::new(picked);
            call_log.record.attempt(picked.clone());
            let attempt = Attempt {
                scope,
                at: &at,
                per_try_timeout: None,
                number: 1,
            };
            let (parts, body) = request.into_parts();
            attempt
                .run(&picked, parts, body, &mut call_log)
                .await
                .finish(&mut call_log)
        }
    };
    let is_response = answered.is_ok();
    let response = answered.unwrap_or_else(|reply| answer(reply, false, &mut call_log));
    let mut body = call_log.watch(&method, response).into_body();
    while let Some(Ok(_)) = body.frame().await {}
    is_response
}
