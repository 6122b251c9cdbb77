//! Moves a body to a separate task.
//!
//! Reading a response body runs the guest that produces it, and one guest must not run
//! inside another: wasmtime allows only one store at a time on a thread.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use wasmtime_wasi_http::Error;

use crate::Body;

/// Frames that can wait for the reader. When they do, the producing guest waits too.
const WAITING_MAX: usize = 2;

/// `body`, safe to read from inside a guest. A body that is already in memory is
/// returned unchanged.
pub(crate) fn detach(mut body: Body) -> Body {
    if body.size_hint().exact().is_some() {
        return body;
    }
    let (sender, frames) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        loop {
            let frame = tokio::select! {
                frame = body.frame() => frame,
                () = sender.closed() => return,
            };
            let Some(frame) = frame else { return };
            if sender.send(frame).await.is_err() {
                return;
            }
        }
    });
    Detach(frames).boxed_unsync()
}

/// The reader's side.
struct Detach(mpsc::Receiver<Result<Frame<Bytes>, Error>>);

impl http_body::Body for Detach {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(context)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;
    use crate::body::full;

    #[tokio::test]
    async fn frames_and_trailers_arrive_in_order() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("checksum", "abc".parse().expect("a value"));
        let frames = [
            Ok(Frame::data(Bytes::from("one "))),
            Ok(Frame::data(Bytes::from("two"))),
            Ok(Frame::trailers(trailers)),
        ];
        let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let collected = detach(body).collect().await.expect("a body");
        assert_eq!(collected.trailers().expect("trailers")["checksum"], "abc");
        assert_eq!(collected.to_bytes(), "one two");
    }

    #[tokio::test]
    async fn error_arrives_and_ends_the_body() {
        let frames = [
            Ok(Frame::data(Bytes::from("one"))),
            Err(Error::ConnectionTerminated),
        ];
        let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        assert!(detach(body).collect().await.is_err());
    }

    #[tokio::test]
    async fn body_in_memory_needs_no_task() {
        assert_eq!(detach(full("x")).size_hint().exact(), Some(1));
    }
}
