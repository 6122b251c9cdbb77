//! Discards the unread rest of a request body.
//!
//! A service, or the mesh itself, may respond without reading what its caller sends.
//! The response must arrive nevertheless: a guest whose body is dropped while it
//! writes gets an error from that write, and most HTTP libraries then abort the call.
//! A client on HTTP/1.1 can lose the response to the reset of a connection that is
//! closed with unread bytes. Nothing waits for the rest: a separate task reads it, and
//! none of it is kept.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Version, header, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use super::AnyBody;

/// Bytes of a client's body that are read after the response. Most forms fit; a client
/// that sends more has its connection closed, as HTTP allows.
const CLIENT_BYTES_MAX: usize = 1 << 20;

/// How long to wait for the rest of a client's body.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(5);

/// Frames that are read at once, without a task: enough for the end of a body
/// that was written in one piece.
const FRAMES_AT_ONCE: usize = 4;

/// An extension of a request: its client sends the body only when asked for it
/// (`expect: 100-continue`). The header itself belongs to the connection and is not
/// forwarded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AwaitsContinue;

/// How much of the rest is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// All of it: the writer is a guest, which pays for it with its own time, and
    /// whose body ends with its instance.
    All,
    /// [`CLIENT_BYTES_MAX`] within [`CLIENT_TIME_MAX`].
    Bounded,
    /// As [`Rest::Bounded`], but only if the body was asked for: the client does not
    /// send it before (`expect: 100-continue`).
    BoundedOnceRead,
    /// Nothing.
    Nothing,
}

impl Rest {
    /// The rest of the body of a client's request. On HTTP/2 a reset of the stream
    /// after the response tells the client that the rest is not needed.
    pub(crate) fn of_client(parts: &request::Parts) -> Self {
        match parts.version {
            Version::HTTP_2 => Self::Nothing,
            _ => Self::bounded(parts),
        }
    }

    /// A bounded rest on every HTTP version.
    pub(crate) fn bounded(parts: &request::Parts) -> Self {
        let awaits = parts.extensions.get::<AwaitsContinue>().is_some();
        match awaits || parts.headers.contains_key(header::EXPECT) {
            true => Self::BoundedOnceRead,
            false => Self::Bounded,
        }
    }
}

/// A body whose rest is read when it is dropped before its end.
pub(crate) struct Discard<B: AnyBody> {
    /// None once it has ended.
    inner: Option<B>,
    rest: Rest,
}

impl<B: AnyBody> Discard<B> {
    pub(crate) fn new(inner: B, rest: Rest) -> Self {
        Self {
            inner: Some(inner),
            rest,
        }
    }
}

impl<B: AnyBody> Body for Discard<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.rest == Rest::BoundedOnceRead {
            self.rest = Rest::Bounded;
        }
        let Some(inner) = &mut self.inner else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(inner).poll_frame(context));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            self.inner = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(|inner| inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Some(inner) => inner.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl<B: AnyBody> Drop for Discard<B> {
    fn drop(&mut self) {
        if matches!(self.rest, Rest::Nothing | Rest::BoundedOnceRead) {
            return;
        }
        let Some(mut body) = self.inner.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        if has_ended(&mut body) {
            return;
        }
        // Outside a runtime the host is stopping.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if self.rest == Rest::All {
            drop(runtime.spawn(discard(body, usize::MAX)));
        } else {
            let discarded = timeout(CLIENT_TIME_MAX, discard(body, CLIENT_BYTES_MAX));
            drop(runtime.spawn(async { drop(discarded.await) }));
        }
    }
}

/// Whether the rest of `body` is already here.
fn has_ended(body: &mut impl AnyBody) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..FRAMES_AT_ONCE {
        match Pin::new(&mut *body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) if frame.is_data() => {}
            Poll::Ready(_) => return true,
            Poll::Pending => return false,
        }
    }
    false
}

/// Reads at most `max` bytes and a frame.
async fn discard(mut body: impl AnyBody, max: usize) {
    let mut read = 0_usize;
    while let Some(Ok(frame)) = body.frame().await {
        read = read.saturating_add(frame.data_ref().map_or(0, Bytes::len));
        if read > max {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;
    use tokio::sync::mpsc;

    use super::*;
    use crate::Body;

    type Frames = mpsc::Sender<Result<Frame<Bytes>, Error>>;

    /// A body and its writer.
    fn body() -> (Frames, Body) {
        let (sender, mut frames) = mpsc::channel(1);
        let frames = futures::stream::poll_fn(move |context| frames.poll_recv(context));
        (sender, StreamBody::new(frames).boxed_unsync())
    }

    async fn write(frames: &Frames, bytes: usize) -> bool {
        let data = Bytes::from(vec![b'x'; bytes]);
        frames.send(Ok(Frame::data(data))).await.is_ok()
    }

    #[tokio::test]
    async fn guest_can_write_its_whole_body() {
        let (frames, body) = body();
        drop(Discard::new(body, Rest::All));
        for _ in 0..64 {
            assert!(write(&frames, 64 << 10).await);
        }
    }

    #[tokio::test]
    async fn rest_of_a_client_is_bounded() {
        let (frames, body) = body();
        drop(Discard::new(body, Rest::Bounded));
        let piece = CLIENT_BYTES_MAX / 16;
        for _ in 0..16 {
            assert!(write(&frames, piece).await);
        }
        let ended = async { while write(&frames, piece).await {} };
        timeout(CLIENT_TIME_MAX, ended)
            .await
            .expect("the rest is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_client_is_given_up() {
        let (frames, body) = body();
        drop(Discard::new(body, Rest::Bounded));
        assert!(write(&frames, 1).await);
        tokio::time::sleep(CLIENT_TIME_MAX).await;
        frames.closed().await;
    }

    #[tokio::test]
    async fn client_that_waits_to_be_asked_for_its_body_is_not_asked() {
        let (frames, body) = body();
        drop(Discard::new(body, Rest::BoundedOnceRead));
        frames.closed().await;

        let (frames, unread) = self::body();
        assert!(write(&frames, 1).await);
        let mut read = Discard::new(unread, Rest::BoundedOnceRead);
        read.frame().await.expect("a frame").expect("data");
        drop(read);
        assert!(write(&frames, 1).await, "the client sends already");
    }

    #[tokio::test]
    async fn body_that_was_read_to_its_end_needs_no_task() {
        let (frames, body) = body();
        let read = Discard::new(body, Rest::All);
        assert!(write(&frames, 1).await);
        drop(frames);
        let read = read.collect().await.expect("a body");
        assert_eq!(read.to_bytes(), "x");
    }
}
