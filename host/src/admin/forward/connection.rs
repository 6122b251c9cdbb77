//! One forwarded connection: HTTP/1.1 that a pod's guest serves.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;

use crate::body;
use crate::context::{RequestContext, request_id};
use crate::workload::Pod;

/// How many bytes of one connection may wait in each direction.
const BUFFER: usize = 64 << 10;

/// Opens a connection to the pod. Returns the side to write to, and the task that serves it.
///
/// The task sends what the guest answers to `sender`, each piece as `frame` frames it. The
/// last piece is empty.
pub(super) fn open(
    pod: Arc<Pod>,
    sender: mpsc::Sender<Bytes>,
    frame: impl Fn(&[u8]) -> Option<Bytes> + Send + 'static,
) -> (
    WriteHalf<DuplexStream>,
    impl Future<Output = ()> + Send + 'static,
) {
    let (ours, theirs) = duplex(BUFFER);
    let (from_pod, to_pod) = split(ours);
    let task = async move {
        tokio::join!(serve(theirs, pod), pass_on(from_pod, &sender, frame));
    };
    (to_pod, task)
}

/// The error of a connection to a port that the pod does not have.
pub(super) fn undeclared(pod: &Pod, port: &str) -> Option<String> {
    let number = port.parse().ok();
    let ports = &pod.plan.container.ports;
    if ports.iter().any(|it| Some(it.container_port) == number) {
        return None;
    }
    Some(format!(
        "the container of pod {} declares no port {port}",
        pod.name
    ))
}

async fn pass_on(
    mut from_pod: ReadHalf<DuplexStream>,
    sender: &mpsc::Sender<Bytes>,
    frame: impl Fn(&[u8]) -> Option<Bytes>,
) {
    let mut buffer = vec![0; BUFFER / 4];
    loop {
        let read = from_pod.read(&mut buffer).await.unwrap_or(0);
        if let Some(frame) = frame(buffer.get(..read).unwrap_or_default())
            && sender.send(frame).await.is_err()
        {
            return;
        }
        if read == 0 {
            return;
        }
    }
}

async fn serve(connection: DuplexStream, pod: Arc<Pod>) {
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
                // The pod is in use until the last frame.
                let _in_flight = &in_flight;
                frame
            })
            .boxed_unsync()
        }),
        Err(failure) => {
            let text = format!("{}: {failure}\n", failure.reason());
            let mut response = Response::new(body::full(text));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
