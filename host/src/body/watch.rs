//! A body that reports its frames and its end to a [`Watcher`].

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::Error;

use super::AnyBody;

/// What happens when a body is read.
pub(crate) trait Watcher: Send + Unpin + 'static {
    /// The reader gets `frame`.
    fn frame(&mut self, _frame: &Frame<Bytes>) {}

    /// The reader waits for the next frame. `Ready` fails the body with this error,
    /// without a call of [`Watcher::end`].
    fn pending(&mut self, _context: &mut Context<'_>) -> Poll<Error> {
        Poll::Pending
    }

    /// The body has ended. Called once, unless a body fails after its known length
    /// was read: then for the failure too.
    fn end(&mut self, _end: End) {}
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The reader has all of it.
    Complete,
    /// The reader got an error.
    Failed,
    /// The reader dropped the body before its end.
    Cancelled,
}

/// See the module's documentation.
pub(crate) struct Watch<B: AnyBody, W: Watcher> {
    inner: B,
    watcher: W,
    /// Bytes that are still to come, if known.
    missing: Option<u64>,
    ended: bool,
}

impl<B: AnyBody, W: Watcher> Watch<B, W> {
    pub(crate) fn new(inner: B, watcher: W) -> Self {
        Self::with_length(inner, watcher, None)
    }

    /// A reader that knows the length does not ask for the end, so the body is
    /// complete as soon as `length` bytes were read.
    pub(crate) fn with_length(inner: B, watcher: W, length: Option<u64>) -> Self {
        let mut watch = Self {
            inner,
            watcher,
            missing: length,
            ended: false,
        };
        if length == Some(0) {
            watch.end(End::Complete);
        }
        watch
    }

    fn end(&mut self, end: End) {
        if !self.ended || end == End::Failed {
            self.ended = true;
            self.watcher.end(end);
        }
    }
}

impl<B: AnyBody, W: Watcher> Body for Watch<B, W> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) else {
            return this.watcher.pending(context).map(|error| {
                this.ended = true;
                Some(Err(error))
            });
        };
        match &frame {
            Some(Ok(frame)) => {
                this.watcher.frame(frame);
                let read = frame.data_ref().map_or(0, |data| data.len() as u64);
                this.missing = this.missing.map(|missing| missing.saturating_sub(read));
                // Nothing follows trailers, so a reader need not ask for more.
                if this.missing == Some(0) || frame.is_trailers() || this.inner.is_end_stream() {
                    this.end(End::Complete);
                }
            }
            Some(Err(_)) => this.end(End::Failed),
            None => this.end(End::Complete),
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

impl<B: AnyBody, W: Watcher> Drop for Watch<B, W> {
    fn drop(&mut self) {
        let end = match self.inner.is_end_stream() {
            true => End::Complete,
            false => End::Cancelled,
        };
        self.end(end);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream::{self, BoxStream, StreamExt};
    use http_body_util::{BodyExt, StreamBody};
    use parking_lot::Mutex;

    use super::*;

    /// Bytes of the frames, and every end.
    type Log = Arc<Mutex<(Vec<usize>, Vec<End>)>>;

    struct Recorder {
        log: Log,
        fails_when_pending: bool,
    }

    impl Watcher for Recorder {
        fn frame(&mut self, frame: &Frame<Bytes>) {
            let data = frame.data_ref().map_or(0, Bytes::len);
            self.log.lock().0.push(data);
        }

        fn pending(&mut self, _context: &mut Context<'_>) -> Poll<Error> {
            match self.fails_when_pending {
                true => Poll::Ready(Error::HttpResponseTimeout),
                false => Poll::Pending,
            }
        }

        fn end(&mut self, end: End) {
            self.log.lock().1.push(end);
        }
    }

    type Frames = BoxStream<'static, Result<Frame<Bytes>, Error>>;

    fn watch(frames: Frames, length: Option<u64>) -> (Watch<StreamBody<Frames>, Recorder>, Log) {
        let log = Log::default();
        let recorder = Recorder {
            log: log.clone(),
            fails_when_pending: false,
        };
        (
            Watch::with_length(StreamBody::new(frames), recorder, length),
            log,
        )
    }

    fn data(text: &'static str) -> Result<Frame<Bytes>, Error> {
        Ok(Frame::data(Bytes::from_static(text.as_bytes())))
    }

    #[tokio::test]
    async fn complete_body_reports_each_frame_and_one_end() {
        let (body, log) = watch(stream::iter([data("one"), data("two!")]).boxed(), None);
        assert_eq!(body.collect().await.expect("a body").to_bytes(), "onetwo!");
        assert_eq!(*log.lock(), (vec![3, 4], vec![End::Complete]));
    }

    #[tokio::test]
    async fn body_is_complete_when_its_length_was_read() {
        let frames = stream::iter([data("one")]).chain(stream::pending());
        let (mut body, log) = watch(frames.boxed(), Some(3));
        body.frame().await.expect("a frame").expect("data");
        drop(body);
        assert_eq!(*log.lock(), (vec![3], vec![End::Complete]));

        let (body, log) = watch(stream::pending().boxed(), Some(0));
        drop(body);
        assert_eq!(log.lock().1, [End::Complete]);
    }

    #[tokio::test]
    async fn body_is_complete_after_its_trailers() {
        let trailers = Ok(Frame::trailers(http::HeaderMap::new()));
        let frames = stream::iter([data("one"), trailers]).chain(stream::pending());
        let (mut body, log) = watch(frames.boxed(), None);
        for _ in 0..2 {
            body.frame().await.expect("a frame").expect("no failure");
        }
        drop(body);
        assert_eq!(*log.lock(), (vec![3, 0], vec![End::Complete]));
    }

    #[tokio::test]
    async fn failure_is_reported_even_after_the_length_was_read() {
        let failure = || Err(Error::ConnectionTerminated);
        let (body, log) = watch(stream::iter([data("one"), failure()]).boxed(), None);
        assert!(body.collect().await.is_err());
        assert_eq!(log.lock().1, [End::Failed]);

        let (body, log) = watch(stream::iter([data("one"), failure()]).boxed(), Some(3));
        assert!(body.collect().await.is_err());
        assert_eq!(log.lock().1, [End::Complete, End::Failed]);
    }

    #[tokio::test]
    async fn reader_that_leaves_early_cancels() {
        let (mut body, log) = watch(stream::iter([data("one"), data("two")]).boxed(), None);
        body.frame().await.expect("a frame").expect("data");
        drop(body);
        assert_eq!(log.lock().1, [End::Cancelled]);
    }

    #[tokio::test]
    async fn watcher_can_fail_a_body_that_waits() {
        let (mut body, log) = watch(stream::pending().boxed(), None);
        assert!(futures::poll!(body.frame()).is_pending());
        body.watcher.fails_when_pending = true;
        assert!(body.frame().await.expect("an error").is_err());
        drop(body);
        assert_eq!(log.lock().1, [], "the watcher knows of it already");
    }
}
