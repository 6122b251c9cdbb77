//! The beginning of a client's body, read before a guest is asked for.
//!
//! A client that sends slowly would otherwise keep an instance waiting from the
//! first byte of its body to the last. So a call goes on once its body is whole,
//! has more bytes than are kept here, or is late; a request that is late has an
//! instance only as long as no other request needs it. Two kinds are left alone: gRPC,
//! whose streams may speak in turns, and clients that wait to be asked for their body.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{header, request};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::Error;

use super::AwaitsContinue;
use crate::Body;
use crate::guest::LateBody;

/// Bytes that are read beforehand: nearly every form and every JSON document fits.
const BYTES_MAX: usize = 64 << 10;

/// Frames, which may be empty.
const FRAMES_MAX: usize = 1_024;

/// How long a body is waited for.
const TIME_MAX: Duration = Duration::from_secs(1);

/// `body`, with its beginning in memory. Notes in `parts` that it is late.
pub(super) async fn prebuffer(parts: &mut request::Parts, mut body: Body) -> Body {
    if body.is_end_stream() || speaks_in_turns(parts) {
        return body;
    }
    let mut frames: Vec<Result<Frame<Bytes>, Error>> = Vec::new();
    let mut bytes = 0;
    let until = Instant::now() + TIME_MAX;
    while bytes < BYTES_MAX && frames.len() < FRAMES_MAX {
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return whole(frames),
            Err(_) => {
                parts.extensions.insert(LateBody);
                break;
            }
        };
        let data = frame.as_ref().ok().and_then(Frame::data_ref);
        bytes += data.map_or(0, Bytes::len);
        let failed = frame.is_err();
        frames.push(frame);
        if failed || body.is_end_stream() {
            return whole(frames);
        }
    }
    Prebuffered {
        beginning: frames.into(),
        rest: body,
    }
    .boxed_unsync()
}

/// A body whose beginning is in memory.
struct Prebuffered {
    beginning: VecDeque<Result<Frame<Bytes>, Error>>,
    rest: Body,
}

impl http_body::Body for Prebuffered {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.beginning.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.beginning.is_empty() && self.rest.is_end_stream()
    }
}

/// One piece where it can be: most guests read that at once.
fn whole(mut frames: Vec<Result<Frame<Bytes>, Error>>) -> Body {
    if frames.len() == 1
        && let Some(Ok(frame)) = frames.pop_if(|frame| frame.as_ref().is_ok_and(Frame::is_data))
    {
        let data = frame.into_data().unwrap_or_default();
        return http_body_util::Full::new(data)
            .map_err(|never: std::convert::Infallible| match never {})
            .boxed_unsync();
    }
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

fn speaks_in_turns(parts: &request::Parts) -> bool {
    let kind = parts.headers.get(header::CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    is_grpc || parts.extensions.get::<AwaitsContinue>().is_some()
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use http_body_util::StreamBody;

    use super::*;

    type Frames = mpsc::Sender<Result<Frame<Bytes>, Error>>;

    fn body() -> (Frames, Body) {
        let (frames, received) = mpsc::channel(4);
        (frames, StreamBody::new(received).boxed_unsync())
    }

    fn parts() -> request::Parts {
        http::Request::new(()).into_parts().0
    }

    fn send(frames: &Frames, bytes: usize) {
        let frame = Frame::data(Bytes::from(vec![b'x'; bytes]));
        frames.clone().try_send(Ok(frame)).expect("a reader");
    }

    async fn length(body: Body) -> usize {
        body.collect().await.expect("a body").to_bytes().len()
    }

    #[tokio::test]
    async fn small_body_is_waited_for() {
        let (frames, body) = body();
        send(&frames, 10);
        let mut parts = parts();
        let mut waiting = Box::pin(prebuffer(&mut parts, body));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        send(&frames, 5);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(frames);
        assert_eq!(length(waiting.await).await, 15);
        assert!(parts.extensions.get::<LateBody>().is_none());
    }

    #[tokio::test]
    async fn large_body_goes_on_with_its_beginning() {
        let (frames, body) = body();
        send(&frames, BYTES_MAX);
        let body = prebuffer(&mut parts(), body).await;
        send(&frames, 7);
        drop(frames);
        assert_eq!(length(body).await, BYTES_MAX + 7);
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_goes_on_and_says_so() {
        let (frames, body) = body();
        send(&frames, 3);
        let mut parts = parts();
        let body = prebuffer(&mut parts, body).await;
        assert!(parts.extensions.get::<LateBody>().is_some());
        send(&frames, 4);
        drop(frames);
        assert_eq!(length(body).await, 7);
    }

    #[tokio::test]
    async fn grpc_is_not_waited_for() {
        let (_frames, body) = body();
        let mut parts = parts();
        let kind = "application/grpc+proto".parse().expect("a value");
        parts.headers.insert("content-type", kind);
        prebuffer(&mut parts, body).await;
        assert!(parts.extensions.get::<LateBody>().is_none());
    }

    #[tokio::test]
    async fn broken_body_stays_broken() {
        let (frames, body) = body();
        send(&frames, 10);
        let failure = Err(Error::ConnectionTerminated);
        frames.clone().try_send(failure).expect("a reader");
        let body = prebuffer(&mut parts(), body).await;
        assert!(body.collect().await.is_err());
    }
}
