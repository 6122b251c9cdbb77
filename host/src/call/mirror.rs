//! Copies of a request, sent besides and forgotten: they never slow or fail the
//! caller, and what becomes of them only metrics and log will tell.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use galleria_mesh::{Forward, MirrorForward, PickContext};
use http::request;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use super::attempt::Attempt;
use super::call_log::CallLog;
use super::{CallScope, Destination, Rest, Source, replay, rest_of, with_span};
use crate::telemetry::access_log::RequestFacts;
use crate::telemetry::trace::{Span, spans};
use crate::{Body, Request, respond};

/// Frames by which a mirror may be behind the caller before it is given up.
const BEHIND_MAX: usize = 64;

/// The longest that a mirrored request may take.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Sends the copies that the route asks for. Returns the body for the caller's
/// own request.
pub(super) fn send(
    scope: &CallScope<'_>,
    forward: &Forward,
    parts: &request::Parts,
    mut body: Body,
) -> Body {
    let mirrors: Vec<_> = forward.mirrors(&mut rand::rng()).collect();
    if mirrors.is_empty() {
        return body;
    }
    for mirror in mirrors {
        let copy;
        let cut = Arc::<AtomicBool>::default();
        (body, copy) = Tee::split(body, &cut);
        start(scope, mirror, parts.clone(), copy, cut);
    }
    // The copies are whole although the service answers without reading.
    let rest = match scope.source {
        Source::Workload(_) => Rest::All,
        Source::Edge { .. } => Rest::of_client(parts),
    };
    rest_of(body, rest)
}

/// `cut` says that the copy of the body is not whole.
fn start(
    scope: &CallScope<'_>,
    mirror: MirrorForward,
    parts: request::Parts,
    body: Body,
    cut: Arc<AtomicBool>,
) {
    let (mesh, live) = (scope.mesh.clone(), scope.live.clone());
    let (source, client) = (scope.source.clone(), scope.client);
    let span = scope.span(spans::MIRROR);
    let context = with_span(span.as_ref(), scope.context.clone());
    tokio::spawn(async move {
        let scope = CallScope {
            mesh: &mesh,
            live: &live,
            source: &source,
            context: &context,
            client,
            timeout: None,
        };
        // Over time it is dropped, which ends the copy's own call.
        let carried = timeout(TIME_MAX, carry(&scope, &mirror, parts, body, span)).await;
        let sent = carried.unwrap_or(false) && !cut.load(Ordering::Relaxed);
        mirror.cluster.count_mirror(mirror.caller, sent);
    });
}

/// Whether an endpoint answered.
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
    let facts = (log.is_on() || span.is_some()).then(|| RequestFacts::of(&request, scope.client));
    let mut call_log = CallLog::open(
        scope.mesh.clone(),
        &method,
        scope.source.workload(),
        scope.context,
        facts,
        span,
    );
    call_log.forwarded(scope.live, &mirror.cluster, "mirror");
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
    let answer = match picked {
        Err(reply) => Err(reply),
        Ok(picked) => {
            let picked = Arc::new(picked);
            call_log.attempt(picked.clone());
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
    let answered = answer.is_ok();
    let response = answer.unwrap_or_else(|reply| {
        call_log.reply(&reply);
        respond::local(reply)
    });
    let mut body = call_log.watch(&method, response).into_body();
    while let Some(Ok(_)) = body.frame().await {}
    answered
}

/// A body whose frames are copied as they pass.
struct Tee {
    inner: Body,
    copy: Option<mpsc::Sender<Frame<Bytes>>>,
}

/// The copy of a body. Where it could not keep up it ends with an error.
struct MirrorBody {
    frames: mpsc::Receiver<Frame<Bytes>>,
    ended: bool,
    cut: Arc<AtomicBool>,
}

impl Tee {
    fn split(body: Body, cut: &Arc<AtomicBool>) -> (Body, Body) {
        if body.is_end_stream() {
            return (body, replay::empty());
        }
        let (copy, frames) = mpsc::channel(BEHIND_MAX);
        let original = Self {
            inner: body,
            copy: Some(copy),
        }
        .boxed_unsync();
        (
            original,
            MirrorBody {
                frames,
                ended: false,
                cut: cut.clone(),
            }
            .boxed_unsync(),
        )
    }

    /// An empty frame marks the true end; a channel that ends without it was cut.
    fn pass_on(&mut self, frame: Frame<Bytes>) {
        if let Some(copy) = &self.copy
            && copy.try_send(frame).is_err()
        {
            self.copy = None;
        }
    }
}

impl http_body::Body for Tee {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                    self.pass_on(Frame::data(data.clone()));
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.pass_on(Frame::trailers(trailers.clone()));
                }
                if self.inner.is_end_stream() {
                    self.pass_on(Frame::data(Bytes::new()));
                }
            }
            Some(Err(_)) => self.copy = None,
            None => self.pass_on(Frame::data(Bytes::new())),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl http_body::Body for MirrorBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match std::task::ready!(self.frames.poll_recv(context)) {
            Some(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => {
                self.ended = true;
                self.cut.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(Error::ConnectionTerminated)))
            }
        }
    }
}
