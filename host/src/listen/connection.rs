//! One connection of any listener, from its first byte to its last, with a deadline for every
//! step that its client takes.
//!
//! HTTP/1 and HTTP/2 are served in the same way. The HTTP library has no timer for connections
//! without a request, incomplete heads and HTTP/2 connections without streams: the deadline of
//! [`Activity`] covers these.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::OptionFuture;
use galleria_mesh::LocalReply;
use galleria_mesh::edge::check_head;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, InFlight, Version};
use super::body_pace::body_pace;
use super::gateway_port::GatewayPort;
use super::limits::{
    AGE_MAX, CLOSE_GRACE, CONNECTION_WINDOW, DRAIN_GRACE, ERROR_STREAMS_MAX, HANDSHAKE, HeadLimits,
    PING_INTERVAL, PING_TIMEOUT, RESET_STREAMS_MAX, SEND_BUFFER, STREAM_WINDOW, STREAMS_MAX,
};
use super::protocol::HttpStream;
use super::proxy_protocol;
use super::rewound::Rewound;
use super::streams::{Progress, StreamExecutor};
use super::workload_port::{Opening, WorkloadPort};
use crate::body::{Pieces, RequestBody, settle_content};
use crate::causes::with_causes;
use crate::remote::{HTTP2_HEAD_MAX, PEER_CONNECTION_WINDOW, PEER_STREAMS_MAX};
use crate::settings::listen::ClientTimeouts;
use crate::telemetry::metrics::{CloseReason, PortMeters};
use crate::tls::{self, Accepted, Alpn, PeerSession, Security, Session};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response; its request is in progress until the body is dropped.
type ResponseBody<B> = Pieces<B, Arc<Progress>, InFlight>;

/// How often a stopping connection is checked while a response is in progress.
const DRAIN_LOOK: Duration = Duration::from_millis(100);

/// The time between a passed deadline and the second check, after which the connection is
/// closed.
const SECOND_LOOK: Duration = Duration::from_millis(100);

/// How a listener answers requests.
pub(crate) trait Handler: Clone + Send + Sync + 'static {
    /// How the listener identifies its clients.
    type Client: Copy + Send + Sync + 'static;
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;
    type Error: Into<BoxError> + Send;

    /// Whether the handler reports requests that are refused for their head. The reply is then
    /// an extension of the request, of type [`LocalReply`].
    const REPORTS_REFUSALS: bool = false;

    /// Whether a connection that begins now has a header of the PROXY protocol.
    fn is_proxied(&self) -> bool {
        false
    }

    /// The client of a connection that `proxy` has passed on for `client`.
    fn behind_proxy(proxy: Self::Client, _client: SocketAddr) -> Self::Client {
        proxy
    }

    /// Reports a request whose head could not be parsed. The connection is closed.
    fn report_malformed(
        &self,
        _reply: LocalReply,
        _client: Self::Client,
    ) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// # Errors
    /// The request was not begun. The connection is reset, or on HTTP/2 the stream.
    fn answer(
        &self,
        request: Request<RequestBody>,
        client: Self::Client,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>> + Send;
}

/// The settings that all connections of a listener share.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) timeouts: ClientTimeouts,
    pub(super) transport: Transport,
    pub(super) meters: Arc<PortMeters>,
    /// The address of the client, if there is one.
    pub(super) address: Option<IpAddr>,
    /// Whether the clients are other hosts, each with the requests of many clients.
    pub(super) for_hosts: bool,
    /// Requests that are already on their way are answered, and no others.
    pub(super) stop: CancellationToken,
    /// Closes everything without waiting any longer.
    pub(super) cut: CancellationToken,
    /// The same as `stop`, for the connections of one server of the port.
    pub(super) retired: Option<CancellationToken>,
}

/// How the connections of a listener are secured.
#[derive(Clone)]
pub(super) enum Transport {
    Plain,
    /// By the host's own certificate.
    Own(tls::Acceptor),
    /// As the port is configured when the connection begins.
    Port(Arc<GatewayPort>),
    /// As the workload demands when the connection begins.
    Workload(Arc<WorkloadPort>),
}

/// What a connection has proven, for its requests.
#[derive(Clone)]
enum Proof {
    Nothing,
    Client(Arc<Session>),
    Peer(Arc<PeerSession>),
}

impl Terms {
    /// Waits until only requests that are already on their way are answered.
    async fn stopped(&self) {
        match &self.retired {
            None => self.stop.cancelled().await,
            Some(retired) => tokio::select! {
                () = self.stop.cancelled() => {}
                () = retired.cancelled() => {}
            },
        }
    }
}

/// Serves one connection until it ends, whatever its listener.
pub(super) async fn serve_connection<S, H>(
    mut stream: S,
    mut client: H::Client,
    handler: H,
    activity: Arc<Activity>,
    mut terms: Terms,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    if handler.is_proxied() {
        // Boxed, since most listeners have no proxy.
        match Box::pin(proxied(&mut stream, &activity, &terms)).await {
            Ok(None) => {}
            Ok(Some(address)) => {
                client = H::behind_proxy(client, address);
                terms.address = Some(address.ip());
            }
            Err(error) => {
                tracing::debug!(error = with_causes(&*error), "a proxy's header failed");
                return;
            }
        }
    }
    let served = match terms.transport.clone() {
        Transport::Plain => serve_plain(stream, client, handler, &activity, &terms).await,
        Transport::Own(tls) => {
            let accepting = Box::pin(tls.accept(stream));
            match handshake(accepting, &activity, &terms).await {
                Ok((stream, alpn)) => {
                    let secured = (stream, alpn, Proof::Nothing);
                    serve_secured(secured, client, handler, &activity, &terms).await
                }
                Err(error) => Err(error),
            }
        }
        Transport::Port(port) => {
            serve_port(stream, &port, client, handler, (&activity, &mut terms)).await
        }
        Transport::Workload(port) => {
            serve_workload(stream, &port, client, handler, (&activity, &mut terms)).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(error = with_causes(&*error), "a connection failed");
    }
}

/// Serves a connection to a port of a Gateway, as it is configured now.
async fn serve_port<S, H>(
    stream: S,
    port: &GatewayPort,
    client: H::Client,
    handler: H,
    (activity, terms): (&Arc<Activity>, &mut Terms),
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let security = port.security.load();
    let servers = match &*security {
        Security::Plain(retired) => {
            terms.retired = Some(retired.clone());
            return serve_plain(stream, client, handler, activity, terms).await;
        }
        Security::Tls(servers) => servers.clone(),
    };
    drop(security);
    let accepting = Box::pin(servers.accept(&port.security, stream));
    match handshake(accepting, activity, terms).await? {
        Accepted::Secured(secured) => {
            terms.retired = Some(secured.retired);
            let proof = Proof::Client(secured.session);
            let secured = (secured.stream, secured.alpn, proof);
            serve_secured(secured, client, handler, activity, terms).await
        }
        Accepted::PassedThrough(opaque) => {
            // What it carries is not known, so it is busy until it ends.
            let _in_flight = activity.begin();
            let passing = Box::pin(port.pass_through(opaque, terms.address));
            tokio::select! {
                () = passing => {}
                () = terms.cut.cancelled() => {}
            }
            Ok(())
        }
    }
}

/// Serves a connection to a workload, which begins with TLS or does not.
async fn serve_workload<S, H>(
    stream: S,
    port: &WorkloadPort,
    client: H::Client,
    handler: H,
    (activity, terms): (&Arc<Activity>, &mut Terms),
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let opening = in_time(terms.timeouts.head, Rewound::of(stream));
    let stream = before_requests(opening, activity, terms).await?;
    let stream = stream.ok_or_else(|| closed(terms, CloseReason::Head))??;
    terms.retired = Some(port.retired());
    let server = match port.open(stream.begins_tls(), terms.address) {
        Ok(Opening::PlainText) => {
            return serve_plain(stream, client, handler, activity, terms).await;
        }
        Ok(Opening::MutualTls(server)) => server,
        Err(error) => {
            terms.meters.closed(CloseReason::Handshake);
            return Err(error);
        }
    };
    let accepting = Box::pin(server.accept(stream));
    let accepted = handshake(accepting, activity, terms).await;
    let accepted = accepted.inspect_err(|error| port.refused(terms.address, &**error))?;
    let proof = Proof::Peer(Arc::new(accepted.session));
    let secured = (accepted.stream, accepted.alpn, proof);
    serve_secured(secured, client, handler, activity, terms).await
}

async fn serve_plain<S, H>(
    stream: S,
    client: H::Client,
    handler: H,
    activity: &Arc<Activity>,
    terms: &Terms,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let stream = opened(stream, activity, terms).await?;
    let proof = Proof::Nothing;
    serve_http(stream, client, handler, (activity, terms), proof).await
}

/// A stream after the handshake, the version that the client has selected in it, and what it
/// has proven.
type SecuredStream<S> = (S, Option<Alpn>, Proof);

async fn serve_secured<S, H>(
    (stream, alpn, proof): SecuredStream<S>,
    client: H::Client,
    handler: H,
    activity: &Arc<Activity>,
    terms: &Terms,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let stream = match alpn {
        Some(Alpn::Http1) => HttpStream::negotiated(Version::Http1, stream),
        Some(Alpn::Http2) => HttpStream::negotiated(Version::Http2, stream),
        None => opened(stream, activity, terms).await?,
    };
    serve_http(stream, client, handler, (activity, terms), proof).await
}

/// Waits for a TLS handshake.
async fn handshake<T>(
    accepting: impl Future<Output = io::Result<T>>,
    activity: &Activity,
    terms: &Terms,
) -> Result<T, BoxError> {
    let limit = HANDSHAKE.min(terms.timeouts.head);
    let accepted = before_requests(in_time(limit, accepting), activity, terms).await?;
    let accepted = accepted.ok_or_else(|| closed(terms, CloseReason::Head))?;
    accepted.map_err(|error| {
        terms.meters.closed(CloseReason::Handshake);
        error.into()
    })
}

/// Waits for the header of the PROXY protocol. Returns the client that it names.
async fn proxied<S: AsyncRead + Unpin>(
    stream: &mut S,
    activity: &Activity,
    terms: &Terms,
) -> Result<Option<SocketAddr>, BoxError> {
    let reading = in_time(terms.timeouts.head, proxy_protocol::read(stream));
    let read = before_requests(reading, activity, terms).await?;
    let read = read.ok_or_else(|| closed(terms, CloseReason::Head))?;
    read.map_err(|error| {
        terms.meters.closed(CloseReason::Handshake);
        error.into()
    })
}

/// Waits for the first bytes.
async fn opened<S: AsyncRead + Unpin>(
    stream: S,
    activity: &Activity,
    terms: &Terms,
) -> Result<HttpStream<S>, BoxError> {
    let limit = terms.timeouts.head.saturating_sub(activity.age());
    let opening = in_time(limit, HttpStream::of(stream));
    let stream = before_requests(opening, activity, terms).await?;
    Ok(stream.ok_or_else(|| closed(terms, CloseReason::Head))??)
}

/// Waits up to `limit` for `step`, and checks a second time before it gives up: if the host
/// itself was stalled, the client may have been in time.
async fn in_time<T>(limit: Duration, step: impl Future<Output = T>) -> Option<T> {
    let mut step = std::pin::pin!(step);
    match tokio::time::timeout(limit, step.as_mut()).await {
        Ok(done) => Some(done),
        Err(_) => tokio::time::timeout(SECOND_LOOK, step).await.ok(),
    }
}

/// Waits for `step`, unless the connection must be closed before its first request.
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
    stream: HttpStream<S>,
    client: H::Client,
    handler: H,
    (activity, terms): (&Arc<Activity>, &Terms),
    proof: Proof,
) -> Result<(), BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let version = stream.version;
    let stream = TokioIo::new(stream.stream);
    let limits = HeadLimits::of(terms.for_hosts);
    let (at_work, timeouts) = (activity.clone(), terms.timeouts);
    let reporter = handler.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        match &proof {
            Proof::Nothing => {}
            Proof::Client(session) => {
                request.extensions_mut().insert(session.clone());
            }
            Proof::Peer(session) => {
                request.extensions_mut().insert(session.clone());
            }
        }
        let handler = handler.clone();
        answer(
            request,
            client,
            handler,
            at_work.clone(),
            (timeouts, limits),
        )
    });
    match version {
        Version::Http1 => {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                // The deadline of `drive` covers the head and idle connections.
                .header_read_timeout(None)
                .max_buf_size(limits.bytes)
                .serve_connection(stream, service)
                .with_upgrades();
            let served = drive(connection, activity, terms).await;
            if let Some(reply) = served.as_ref().err().and_then(malformed) {
                reporter.report_malformed(reply, client).await;
            }
            served
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
                .max_header_list_size(HTTP2_HEAD_MAX)
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

/// The reply of the HTTP library to a head that it could not parse.
fn malformed(error: &BoxError) -> Option<LocalReply> {
    let error = error.downcast_ref::<hyper::Error>()?;
    if !error.is_parse() {
        return None;
    }
    let is_long = error.is_parse_too_large();
    let status = match error.to_string().starts_with("URI") {
        true if is_long => StatusCode::URI_TOO_LONG,
        false if is_long => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    Some(LocalReply::malformed_head(status))
}

/// Answers one request, which is in progress until its response has been delivered.
async fn answer<H: Handler>(
    request: Request<Incoming>,
    client: H::Client,
    handler: H,
    activity: Arc<Activity>,
    (timeouts, limits): (ClientTimeouts, HeadLimits),
) -> Result<Response<ResponseBody<H::Body>>, H::Error> {
    let in_flight = activity.begin();
    let progress = Progress::current();
    let is_http2 = progress.is_some();
    let (mut head, body) = request.into_parts();
    if let Err(reply) = check_head(&head, limits.bytes, limits.fields) {
        if !H::REPORTS_REFUSALS {
            let reply = reply.into_response();
            return Ok(reply.map(|text| ResponseBody::text(text, in_flight)));
        }
        head.extensions.insert(reply);
    }
    let method = head.method.clone();
    let (body, too_slow) = RequestBody::new(body, || body_pace(&head.headers, &timeouts));
    let too_slow = OptionFuture::from(too_slow.as_ref().map(|it| it.notified()));
    let mut too_slow = std::pin::pin!(too_slow);
    let answer = tokio::select! {
        biased;
        answer = handler.answer(Request::from_parts(head, body), client) => Some(answer?),
        Some(()) = too_slow.as_mut() => None,
    };
    // If the body was aborted, the service's own response about it is less useful.
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
        // From here on the protocol is not HTTP: the connection is busy until it is closed.
        activity.upgraded();
    } else if activity.is_closing() && !is_http2 {
        response.headers_mut().insert(header::CONNECTION, CLOSE);
    }
    let mut response = response.map(|(body, in_flight)| match body {
        Some(body) => ResponseBody::new(body, progress, in_flight),
        None => ResponseBody::text("the request body arrived too slowly", in_flight),
    });
    settle_content(&method, &mut response, ResponseBody::clear);
    Ok(response)
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A connection of the HTTP library.
trait Connection: Future<Output = hyper::Result<()>> {
    const VERSION: Version;

    /// Accepts no further requests, and answers those in progress.
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

/// The stage of a connection.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Serving,
    /// The host has been stopping since then: one more request is answered.
    Stopping(Instant),
    /// Asked to close since then.
    Closing(Instant),
}

/// Serves the connection until the client ends it or a deadline has passed twice.
async fn drive<C: Connection>(
    connection: C,
    activity: &Activity,
    terms: &Terms,
) -> Result<(), BoxError> {
    let mut connection = std::pin::pin!(connection);
    let mut stage = Stage::Serving;
    // The deadline that had passed at the first check.
    let mut passed = None;
    let mut alarm = std::pin::pin!(tokio::time::sleep(terms.timeouts.head));
    loop {
        let is_serving = matches!(stage, Stage::Serving);
        tokio::select! {
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            () = activity.evicted() => return Err(closed(terms, CloseReason::Evicted)),
            () = terms.cut.cancelled() => return Ok(()),
            () = terms.stopped(), if is_serving => {
                stage = Stage::Stopping(Instant::now());
                activity.close();
                if C::VERSION == Version::Http2 {
                    // Accepts streams until the client has received the notification.
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
            // If the host was stalled, bytes that arrived in time may not have been read yet.
            (Some((due, _)), _) if due <= now && passed != Some(due) => {
                passed = Some(due);
                alarm.as_mut().reset(now + SECOND_LOOK);
            }
            (Some((due, reason)), _) if due <= now => {
                if is_serving {
                    terms.meters.closed(reason);
                }
                if reason == CloseReason::Head && C::VERSION == Version::Http1 {
                    // There is no request that could be completed.
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
