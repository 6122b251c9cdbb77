//! The beginning of a client's body, read before a guest is asked for.
//!
//! A client that sends slowly would otherwise keep an instance waiting from the
//! first byte of its body to the last. So a call goes on once its body is whole,
//! or has more bytes than are kept here; until then it costs its connection and
//! these bytes. gRPC is left alone: its streams may speak in turns.

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, header};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use wasmtime_wasi_http::Error;

use crate::Body;

/// Bytes that are read beforehand: nearly every form and every JSON document fits.
const BYTES_MAX: usize = 64 << 10;

/// Frames, which may be empty.
const FRAMES_MAX: usize = 1_024;

/// `body`, with its beginning in memory. Ends when the client sends no more, at the
/// latest when its listener gives the body up.
pub(super) async fn prebuffer(headers: &HeaderMap, mut body: Body) -> Body {
    if http_body::Body::is_end_stream(&body) || is_grpc(headers) {
        return body;
    }
    let mut frames: Vec<Result<Frame<Bytes>, Error>> = Vec::new();
    let mut bytes = 0;
    while bytes < BYTES_MAX && frames.len() < FRAMES_MAX {
        let Some(frame) = body.frame().await else {
            return whole(frames);
        };
        let data = frame.as_ref().ok().and_then(Frame::data_ref);
        bytes += data.map_or(0, Bytes::len);
        let failed = frame.is_err();
        frames.push(frame);
        if failed || http_body::Body::is_end_stream(&body) {
            return whole(frames);
        }
    }
    let beginning = stream::iter(frames);
    StreamBody::new(beginning.chain(BodyStream::new(body))).boxed_unsync()
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

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use http_body_util::StreamBody;

    use super::*;

    type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, Error>>;

    fn body() -> (Frames, Body) {
        let (frames, received) = mpsc::unbounded();
        (frames, StreamBody::new(received).boxed_unsync())
    }

    fn send(frames: &Frames, bytes: usize) {
        let frame = Frame::data(Bytes::from(vec![b'x'; bytes]));
        frames.unbounded_send(Ok(frame)).expect("a reader");
    }

    async fn length(body: Body) -> usize {
        body.collect().await.expect("a body").to_bytes().len()
    }

    #[tokio::test]
    async fn small_body_is_waited_for() {
        let (frames, body) = body();
        send(&frames, 10);
        let headers = HeaderMap::new();
        let mut waiting = Box::pin(prebuffer(&headers, body));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        send(&frames, 5);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(frames);
        assert_eq!(length(waiting.await).await, 15);
    }

    #[tokio::test]
    async fn large_body_goes_on_with_its_beginning() {
        let (frames, body) = body();
        send(&frames, BYTES_MAX);
        let body = prebuffer(&HeaderMap::new(), body).await;
        send(&frames, 7);
        drop(frames);
        assert_eq!(length(body).await, BYTES_MAX + 7);
    }

    #[tokio::test]
    async fn grpc_is_not_waited_for() {
        let (_frames, body) = body();
        let mut headers = HeaderMap::new();
        headers.insert(
            "content-type",
            "application/grpc+proto".parse().expect("a value"),
        );
        prebuffer(&headers, body).await;
    }

    #[tokio::test]
    async fn broken_body_stays_broken() {
        let (frames, body) = body();
        send(&frames, 10);
        let failure = Err(Error::ConnectionTerminated);
        frames.unbounded_send(failure).expect("a reader");
        let body = prebuffer(&HeaderMap::new(), body).await;
        assert!(body.collect().await.is_err());
    }
}
