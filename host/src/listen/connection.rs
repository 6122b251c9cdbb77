//! One connection, of whatever listener: from its first byte to its last, with a
//! deadline on every step that its client takes.
//!
//! HTTP/1 and HTTP/2 are served alike. What the HTTP library has no timer for
//! (connections without a request, half a head, HTTP/2 connections without streams)
//! is watched from outside by [`Activity`]'s deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::OptionFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Version};
use super::limits::{
    AGE_MAX, CLOSE_GRACE, CONNECTION_WINDOW, DRAIN_GRACE, ERROR_STREAMS_MAX, HANDSHAKE, HEAD_MAX,
    PING_INTERVAL, PING_TIMEOUT, RESET_STREAMS_MAX, SEND_BUFFER, STREAM_WINDOW, STREAMS_MAX,
};
use super::protocol::Opened;
use super::request_body::RequestBody;
use super::response_body::ResponseBody;
use super::streams::{Progress, StreamExecutor};
use crate::causes::with_causes;
use crate::remote::{PEER_CONNECTION_WINDOW, PEER_STREAMS_MAX};
use crate::settings::listen::ClientTimeouts;
use crate::telemetry::metrics::{CloseReason, PortMeters};
use crate::tls::{self, Alpn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How often a connection that stops is looked at while a response is under way.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// How long after a deadline a connection is looked at again, and then closed.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// A listener's way to answer requests.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// Whom the listener knows its clients by.
    type Client: Copy + Send + Sync + 'static;
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;
    type Error: Into<BoxError> + Send;

    /// # Errors
    /// The request was not begun: the connection, or the stream of HTTP/2, is reset.
    fn answer(
        &self,
        request: Request<RequestBody>,
        client: Self::Client,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send;
}

/// What every connection of a listener has in common.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) timeouts: ClientTimeouts,
    pub(super) tls: Option<tls::Acceptor>,
    pub(super) meters: Arc<PortMeters>,
    /// Whether its clients are other hosts, with the requests of many clients each.
    pub(super) for_hosts: bool,
    /// Requests that are on their way are answered, and no more.
    pub(super) stop: CancellationToken,
    /// Nothing is waited for any longer.
    pub(super) cut: CancellationToken,
}

/// Serves one connection until it ends, whatever its listener.
pub(super) async fn serve_connection<S, H>(
    stream: S,
    client: H::Client,
    handler: H,
    activity: Arc<Activity>,
    terms: Terms,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let opening = async {
        match &terms.tls {
            None => {
                serve_http(
                    opened(stream, &activity, &terms).await?,
                    client,
                    handler,
                    &activity,
                    &terms,
                )
                .await
            }
            Some(tls) => {
                let limit = HANDSHAKE.min(terms.timeouts.head);
                let accepting = in_time(limit, tls.accept(stream));
                let accepted = before_requests(accepting, &activity, &terms).await?;
                let (stream, alpn) =
                    accepted.ok_or_else(|| closed(&terms, CloseReason::Head))??;
                let stream = match alpn {
                    Some(Alpn::Http1) => Opened::negotiated(Version::Http1, stream),
                    Some(Alpn::Http2) => Opened::negotiated(Version::Http2, stream),
                    None => opened(stream, &activity, &terms).await?,
                };
                serve_http(stream, client, handler, &activity, &terms).await
            }
        }
    };
    if let Err(error) = opening.await {
        tracing::debug!(error = with_causes(&*error), "a connection failed");
    }
}

/// Waits for the first bytes.
async fn opened<S: AsyncRead + Unpin>(
    stream: S,
    activity: &Activity,
    terms: &Terms,
) -> Result<Opened<S>, BoxError> {
    let limit = terms.timeouts.head.saturating_sub(activity.age());
    let opening = in_time(limit, Opened::of(stream));
    let stream = before_requests(opening, activity, terms).await?;
    Ok(stream.ok_or_else(|| closed(terms, CloseReason::Head))??)
}

/// Waits for `step`, `limit` at most, and looks a second time before it gives up:
/// where the host itself stood still, its client may have been in time.
async fn in_time<T>(limit: Duration, step: impl Future<Output = T>) -> Option<T> {
    let mut step = std::pin::pin!(step);
    match tokio::time::timeout(limit, step.as_mut()).await {
        Ok(done) => Some(done),
        Err(_) => tokio::time::timeout(SECOND_LOOK, step).await.ok(),
    }
}

/// Waits for `step`, unless the connection has to go before its first request.
async fn before_requests<T>(
    step: impl Future<Output = T>,
    activity: &Activity,
    terms: &Terms,
) -> Result<T, BoxError> {
    let stopped = async {
        terms.stop.cancelled().await;
        tokio::time::sleep(DRAIN_GRACE).await;
    };
    tokio::select! {
        biased;
        result = step => Ok(result),
        () = activity.evicted() => Err(closed(terms, CloseReason::Evicted)),
        () = stopped => Err("the host stops".into()),
        () = terms.cut.cancelled() => Err("the host stops".into()),
    }
}

fn closed(terms: &Terms, reason: CloseReason) -> BoxError {
    terms.meters.closed(reason);
    reason.name().into()
}

async fn serve_http<S, H>(
    stream: Opened<S>,
    client: H::Client,
    handler: H,
    activity: &Arc<Activity>,
    terms: &Terms,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let version = stream.version;
    let stream = TokioIo::new(stream);
    let (at_work, timeouts) = (activity.clone(), terms.timeouts);
    let service = service_fn(move |request: Request<Incoming>| {
        answer(request, client, handler.clone(), at_work.clone(), timeouts)
    });
    match version {
        Version::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                // The deadline of `drive` is for these, and for silence too.
                .header_read_timeout(None)
                .max_buf_size(HEAD_MAX)
                .serve_connection(stream, service)
                .with_upgrades();
            drive(connection, activity, terms).await
        }
        Version::Http2 => {
            let executor = StreamExecutor {
                stall_limit: terms.timeouts.stall,
                meters: terms.meters.clone(),
            };
            let (streams, window) = match terms.for_hosts {
                true => (PEER_STREAMS_MAX, PEER_CONNECTION_WINDOW),
                false => (STREAMS_MAX, CONNECTION_WINDOW),
            };
            let connection = http2::Builder::new(executor)
                .timer(TokioTimer::new())
                .max_header_list_size(HEAD_MAX as u32)
                .max_concurrent_streams(streams)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(window)
                .max_send_buf_size(SEND_BUFFER)
                .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
                .max_local_error_reset_streams(ERROR_STREAMS_MAX)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .serve_connection(stream, service);
            drive(connection, activity, terms).await
        }
    }
}

/// Answers one request, which is under way until its response has been taken.
async fn answer<H: Handler>(
    request: Request<Incoming>,
    client: H::Client,
    handler: H,
    activity: Arc<Activity>,
    timeouts: ClientTimeouts,
) -> Result<Response<ResponseBody<H::Body>>, H::Error> {
    let in_flight = activity.begin();
    let progress = Progress::current();
    let is_http2 = progress.is_some();
    let (head, body) = request.into_parts();
    let (body, too_slow) = RequestBody::new(body, &head.headers, &timeouts);
    let too_slow = OptionFuture::from(too_slow.as_ref().map(|it| it.notified()));
    let mut too_slow = std::pin::pin!(too_slow);
    let answer = tokio::select! {
        biased;
        answer = handler.answer(Request::from_parts(head, body), client) => Some(answer?),
        Some(()) = too_slow.as_mut() => None,
    };
    // A service's own word about a body that broke off is no better.
    let answer = answer.filter(|_| too_slow.now_or_never().flatten().is_none());
    let mut response = match answer {
        Some(response) => response.map(|body| (Some(body), in_flight)),
        None => {
            let mut response = Response::new((None, in_flight));
            *response.status_mut() = StatusCode::REQUEST_TIMEOUT;
            if !is_http2 {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            response
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // What follows is not of HTTP, and under way until the stream is closed.
        activity.upgraded();
    } else if activity.is_closing() && !is_http2 {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    Ok(response.map(|(body, in_flight)| match body {
        Some(body) => ResponseBody::new(body, in_flight, progress),
        None => ResponseBody::text("the request body arrived too slowly", in_flight),
    }))
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection of the HTTP library.
trait Connection: Future<Output = hyper::Result<()>> {
    const VERSION: Version;

    /// Takes no further requests, but answers those under way.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S, B> Connection for http1::UpgradeableConnection<I, S>
where
    Self: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<Incoming, ResBody = B, Error: Into<BoxError>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send,
    B: Body<Error: Into<BoxError>> + 'static,
{
    const VERSION: Version = Version::Http1;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::UpgradeableConnection::graceful_shutdown(self);
    }
}

impl<I, S, B, E> Connection for http2::Connection<I, S, E>
where
    Self: Future<Output = hyper::Result<()>>,
    S: hyper::service::HttpService<Incoming, ResBody = B, Error: Into<BoxError>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body<Error: Into<BoxError>> + 'static,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    const VERSION: Version = Version::Http2;

    fn graceful_shutdown(self: Pin<&mut Self>) {
        http2::Connection::graceful_shutdown(self);
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Serving,
    /// The host stops since then: one request more is answered.
    Stopping(Instant),
    /// Asked to close since then.
    Closing(Instant),
}

/// Serves until the client ends it, or its time is over.
async fn drive<C: Connection>(
    connection: C,
    activity: &Activity,
    terms: &Terms,
) -> Result<(), BoxError> {
    let mut connection = std::pin::pin!(connection);
    let mut stage = Stage::Serving;
    // The deadline that has passed, at the first look.
    let mut passed = None;
    let mut alarm = std::pin::pin!(tokio::time::sleep(terms.timeouts.head));
    loop {
        let is_serving = matches!(stage, Stage::Serving);
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            () = activity.evicted() => return Err(closed(terms, CloseReason::Evicted)),
            () = terms.cut.cancelled() => return Ok(()),
            () = terms.stop.cancelled(), if is_serving => {
                stage = Stage::Stopping(Instant::now());
                activity.close();
                if C::VERSION == Version::Http2 {
                    // Goes on taking streams until the client knows.
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = alarm.as_mut() => {}
        }
        let now = Instant::now();
        if is_serving && activity.age() >= AGE_MAX && !activity.is_closing() {
            activity.close();
            if C::VERSION == Version::Http2 {
                connection.as_mut().graceful_shutdown();
            }
        }
        let due = match stage {
            Stage::Serving => activity.deadline(C::VERSION, &terms.timeouts),
            Stage::Stopping(since) => activity
                .last_request(since, DRAIN_GRACE)
                .map(|due| (due, CloseReason::Idle)),
            Stage::Closing(since) => activity
                .last_request(since, CLOSE_GRACE)
                .map(|due| (due, CloseReason::Idle)),
        };
        let look = match stage {
            Stage::Serving => terms.timeouts.head,
            Stage::Stopping(_) | Stage::Closing(_) => DRAIN_LOOK,
        };
        match (due, stage) {
            (Some((due, _)), Stage::Closing(_)) if due <= now => return Ok(()),
            // What came in time may not have been read yet, where the host stood still.
            (Some((due, _)), _) if due <= now && passed != Some(due) => {
                passed = Some(due);
                alarm.as_mut().reset(now + SECOND_LOOK);
            }
            (Some((due, reason)), _) if due <= now => {
                if is_serving {
                    terms.meters.closed(reason);
                }
                if reason == CloseReason::Head && C::VERSION == Version::Http1 {
                    // Nothing is under way that could be finished.
                    return Err(reason.name().into());
                }
                activity.close();
                connection.as_mut().graceful_shutdown();
                stage = Stage::Closing(now);
                alarm.as_mut().reset(now + DRAIN_LOOK);
            }
            (due, _) => {
                let next = due.map_or(now + look, |(due, _)| due.min(now + look));
                alarm.as_mut().reset(next);
            }
        }
    }
}

#[cfg(test)]
mod tests;
