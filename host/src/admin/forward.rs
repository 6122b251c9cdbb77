//! `pods/portforward`: a client's local connections, served by a pod's guest past
//! the mesh.
//!
//! A guest has no sockets: what comes on a forwarded connection is read as HTTP/1.1,
//! and each request is handed to the guest. Connections come as streams of SPDY,
//! which every kubectl speaks.

mod frames;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex,
    split,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;

use super::Api;
use super::failure::Failure;
use super::path::Resource;
use crate::context::{RequestContext, request_id};
use crate::workload::Pod;
use frames::{Frame, FrameError, Frames};

const SPDY: &str = "SPDY/3.1";
const PROTOCOL: &str = "portforward.k8s.io";
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Bytes of one connection that may wait in each direction.
const BUFFER: usize = 64 << 10;

/// Frames that may wait for the client.
const WAITING_MAX: usize = 64;

/// Streams of one client at once: two for each of its connections.
const STREAMS_MAX: usize = 512;

impl Api {
    /// Switches the connection over to SPDY.
    ///
    /// # Errors
    /// The pod is not there, or the client does not speak SPDY.
    pub(super) fn forward(
        &self,
        request: &Parts,
        resource: &Resource,
        name: &str,
    ) -> Result<Response<Body>, Failure> {
        let key = super::write::key(resource, name);
        self.stored(resource, &key)?;
        if !asks_for_spdy(request) {
            // Newer clients try WebSocket first, and go on with SPDY when told so.
            return Err(Failure::BadRequest(format!(
                "port forwarding requires a connection upgrade to {SPDY} with {PROTOCOL}"
            )));
        }
        let upgrade = request.extensions.get::<OnUpgrade>().cloned();
        let upgrade = upgrade.ok_or_else(|| {
            Failure::BadRequest("port forwarding requires HTTP/1.1, which supports upgrades".into())
        })?;
        let pods = self.pods.all();
        let pod = pods
            .iter()
            .find(|pod| pod.name == key.name && pod.plan.identity.namespace == key.namespace);
        let pod = pod
            .cloned()
            .ok_or_else(|| Failure::BadRequest(format!("pod {name} does not serve requests")))?;
        let slot = self.watches.clone().try_acquire_owned();
        let slot = slot.map_err(|_| Failure::TooManyRequests("too many watches"))?;
        tokio::spawn(async move {
            match upgrade.await {
                Ok(connection) => serve(TokioIo::new(connection), pod, slot).await,
                Err(error) => tracing::debug!(%error, "cannot upgrade a connection"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
        headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        Ok(response)
    }
}

fn asks_for_spdy(request: &Parts) -> bool {
    let says = |headers: &HeaderMap, name: &str, wanted: &str| {
        let values = headers.get_all(name).iter();
        let mut values = values.filter_map(|value| value.to_str().ok());
        values.any(|value| {
            value
                .split(',')
                .any(|it| it.trim().eq_ignore_ascii_case(wanted))
        })
    };
    request.method == Method::POST
        && says(&request.headers, header::UPGRADE.as_str(), SPDY)
        && says(&request.headers, STREAM_PROTOCOL, PROTOCOL)
}

async fn serve(
    connection: impl AsyncRead + AsyncWrite + Send + 'static,
    pod: Arc<Pod>,
    _slot: OwnedSemaphorePermit,
) {
    let (reader, writer) = split(connection);
    let (sender, frames) = mpsc::channel(WAITING_MAX);
    let session = Session {
        pod,
        sender,
        streams: HashMap::new(),
        errors: HashMap::new(),
        connections: JoinSet::new(),
    };
    // Whichever ends first, the client is gone.
    tokio::select! {
        ended = session.run(reader) => if let Err(error) = ended {
            tracing::debug!(%error, "closed the connection of a port-forwarding client");
        },
        () = write(writer, frames) => {}
    }
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

/// One client: its connections, as pairs of streams.
struct Session {
    pod: Arc<Pod>,
    /// To the client.
    sender: mpsc::Sender<Bytes>,
    /// What comes on a stream of data goes here; None once its sender is done.
    streams: HashMap<u32, Option<WriteHalf<DuplexStream>>>,
    /// The streams on which a failure is told, by the number of the connection.
    errors: HashMap<String, u32>,
    connections: JoinSet<()>,
}

impl Session {
    async fn run(mut self, mut reader: impl AsyncRead + Unpin) -> Result<(), FrameError> {
        let mut frames = Frames::default();
        loop {
            // What is done is let go of.
            while self.connections.try_join_next().is_some() {}
            match frames.read(&mut reader).await? {
                None => return Ok(()),
                Some(Frame::Open { stream, headers }) => {
                    let reply = frames.reply(stream)?;
                    self.open(stream, &headers, reply).await;
                }
                Some(Frame::Data { stream, data, last }) => self.take(stream, &data, last).await,
                Some(Frame::Reset { stream }) => {
                    self.streams.remove(&stream);
                }
                Some(Frame::Ping(answer)) => self.send(answer).await,
                Some(Frame::Other) => {}
            }
        }
    }

    async fn open(&mut self, stream: u32, headers: &HashMap<String, String>, reply: Bytes) {
        let said = |name: &str| headers.get(name).map_or("", String::as_str);
        let id = said("requestid").to_owned();
        if self.streams.len() + self.errors.len() >= STREAMS_MAX {
            return self.send(frames::reset(stream)).await;
        }
        self.send(reply).await;
        if said("streamtype") == "error" {
            self.errors.insert(id, stream);
            return;
        }
        let error = self.errors.remove(&id);
        let port = said("port").parse().ok();
        let ports = &self.pod.plan.container.ports;
        if !ports.iter().any(|it| Some(it.container_port) == port) {
            let message = format!(
                "the container of pod {} declares no port {}",
                self.pod.name,
                said("port")
            );
            if let Some(error) = error {
                self.send(frames::data(error, message.as_bytes(), true))
                    .await;
            }
            return self.send(frames::data(stream, &[], true)).await;
        }
        let (ours, theirs) = duplex(BUFFER);
        let (from_pod, to_pod) = split(ours);
        self.streams.insert(stream, Some(to_pod));
        let (pod, sender) = (self.pod.clone(), self.sender.clone());
        self.connections.spawn(async move {
            tokio::join!(
                serve_connection(theirs, pod),
                pass_on(from_pod, stream, &sender),
            );
            if let Some(error) = error {
                // The client is gone where nobody takes it.
                let _ = sender.send(frames::data(error, &[], true)).await;
            }
        });
    }

    async fn take(&mut self, stream: u32, data: &[u8], last: bool) {
        let Some(known) = self.streams.get_mut(&stream) else {
            return;
        };
        if let Some(to_pod) = known
            && to_pod.write_all(data).await.is_err()
        {
            *known = None;
        }
        if last && let Some(mut to_pod) = known.take() {
            // The guest's side may be closed already.
            let _ = to_pod.shutdown().await;
        }
    }

    async fn send(&self, frame: Bytes) {
        // The writer ends with the client, and this with the writer.
        let _ = self.sender.send(frame).await;
    }
}

/// What the pod answers, to the client, until it has no more.
async fn pass_on(mut from_pod: ReadHalf<DuplexStream>, stream: u32, sender: &mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; BUFFER / 4];
    loop {
        let read = from_pod.read(&mut buffer).await.unwrap_or(0);
        let data = buffer.get(..read).unwrap_or_default();
        let sent = sender.send(frames::data(stream, data, read == 0)).await;
        if read == 0 || sent.is_err() {
            return;
        }
    }
}

/// Serves one forwarded connection as HTTP/1.1.
async fn serve_connection(connection: DuplexStream, pod: Arc<Pod>) {
    let service = service_fn(move |request| {
        let pod = pod.clone();
        async move { Ok::<_, Infallible>(answer(&pod, request).await) }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a forwarded connection failed");
    }
}

async fn answer(pod: &Arc<Pod>, request: http::Request<Incoming>) -> crate::Response {
    let in_flight = pod.enter();
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    let context = Arc::new(RequestContext::unrecorded(request_id()));
    match pod.serve(request, context).await {
        Ok(response) => response.map(|body| {
            body.map_frame(move |frame| {
                // In use until the last frame.
                let _in_flight = &in_flight;
                frame
            })
            .boxed_unsync()
        }),
        Err(failure) => {
            let text = format!("{}: {failure}\n", failure.reason());
            let body = http_body_util::Full::new(Bytes::from(text));
            let body = body.map_err(|never: Infallible| match never {});
            let mut response = Response::new(body.boxed_unsync());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
