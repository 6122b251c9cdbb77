//! The rest of a request's body that nobody wants is read and thrown away.
//!
//! A service may answer without reading what its caller sends, and so may the
//! mesh. The answer has to arrive all the same: a guest whose body is dropped while
//! it writes gets an error from that write, and most HTTP libraries then give up
//! the call; a client on HTTP/1.1 may lose the answer to the reset of a connection
//! that is closed while bytes of it are unread. Nothing waits for the rest: it is
//! read on a task of its own, and none of it is kept.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Version, header, request};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::time::timeout;
use wasmtime_wasi_http::Error;

use super::Source;
use crate::Body;

/// Bytes that are read of a client's body after the answer: most forms fit in, and a
/// client that sends more has its connection closed, as HTTP allows.
const CLIENT_BYTES_MAX: usize = 1 << 20;

/// How long the rest of a client's body is waited for.
const CLIENT_TIME_MAX: Duration = Duration::from_secs(5);

/// Frames that are read at once, without a task: enough for the end of a body
/// that was written whole.
const FRAMES_AT_ONCE: usize = 4;

/// An extension of a request: its client waits with the body until it is asked for
/// (`expect: 100-continue`). The header itself is the connection's and goes no further.
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
    /// As [`Rest::Bounded`] once the body has been asked for: the client waits with it
    /// until then (`expect: 100-continue`).
    BoundedOnceRead,
    /// Nothing: HTTP/2 tells the client by a reset of the stream, after the answer,
    /// that the rest is not needed.
    Nothing,
}

impl Rest {
    /// By who sends the body, and how.
    pub(super) fn of(source: &Source, parts: &request::Parts) -> Self {
        match source {
            Source::Workload(_) => Self::All,
            Source::Edge { .. } if parts.version == Version::HTTP_2 => Self::Nothing,
            Source::Edge { .. } => Self::of_client(parts),
        }
    }

    /// By what a client on HTTP/1.1 announces.
    pub(crate) fn of_client(parts: &request::Parts) -> Self {
        let awaits = parts.extensions.get::<AwaitsContinue>().is_some();
        match awaits || parts.headers.contains_key(header::EXPECT) {
            true => Self::BoundedOnceRead,
            false => Self::Bounded,
        }
    }
}

/// `body`, of which the rest is read when it is dropped before its end.
pub(crate) fn rest_of(body: Body, rest: Rest) -> Body {
    if rest == Rest::Nothing || body.is_end_stream() {
        return body;
    }
    DiscardRest {
        inner: Some(body),
        rest,
    }
    .boxed_unsync()
}

struct DiscardRest {
    /// None once it has ended.
    inner: Option<Body>,
    rest: Rest,
}

impl http_body::Body for DiscardRest {
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
        let frame = std::task::ready!(Pin::new(inner).poll_frame(context));
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

impl Drop for DiscardRest {
    fn drop(&mut self) {
        let Some(mut body) = self.inner.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        if self.rest == Rest::BoundedOnceRead || has_ended(&mut body) {
            return;
        }
        // Outside a runtime the host is ending.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        match self.rest {
            Rest::All => drop(runtime.spawn(discard(body, usize::MAX))),
            Rest::Bounded | Rest::BoundedOnceRead | Rest::Nothing => {
                let discarded = timeout(CLIENT_TIME_MAX, discard(body, CLIENT_BYTES_MAX));
                drop(runtime.spawn(async { drop(discarded.await) }));
            }
        }
    }
}

/// Whether what is left of `body` has come already.
fn has_ended(body: &mut Body) -> bool {
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
async fn discard(mut body: Body, max: usize) {
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

    type Frames = mpsc::Sender<Result<Frame<Bytes>, Error>>;

    /// A body, and the way to write it.
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
    async fn guest_goes_on_writing_to_nobody_for_as_long_as_it_likes() {
        let (frames, body) = body();
        drop(rest_of(body, Rest::All));
        for _ in 0..64 {
            assert!(write(&frames, 64 << 10).await);
        }
    }

    #[tokio::test]
    async fn of_a_client_a_bounded_rest_is_read() {
        let (frames, body) = body();
        drop(rest_of(body, Rest::Bounded));
        let piece = CLIENT_BYTES_MAX / 16;
        for _ in 0..16 {
            assert!(write(&frames, piece).await);
        }
        let ended = async { while write(&frames, piece).await {} };
        timeout(CLIENT_TIME_MAX, ended).await.expect("it is closed");
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_says_nothing_is_not_waited_for() {
        let (frames, body) = body();
        drop(rest_of(body, Rest::Bounded));
        assert!(write(&frames, 1).await);
        tokio::time::sleep(CLIENT_TIME_MAX).await;
        frames.closed().await;
    }

    #[tokio::test]
    async fn client_that_waits_to_be_asked_is_not_asked() {
        let (frames, body) = body();
        drop(rest_of(body, Rest::BoundedOnceRead));
        frames.closed().await;

        let (frames, unread) = self::body();
        assert!(write(&frames, 1).await);
        let mut read = rest_of(unread, Rest::BoundedOnceRead);
        read.frame().await.expect("a frame").expect("data");
        drop(read);
        assert!(write(&frames, 1).await, "the client is sending already");
    }

    #[tokio::test]
    async fn body_that_was_read_to_its_end_needs_no_task() {
        let (frames, body) = body();
        let read = rest_of(body, Rest::All);
        assert!(write(&frames, 1).await);
        drop(frames);
        let read = read.collect().await.expect("a body");
        assert_eq!(read.to_bytes(), "x");
    }
}
