//! Copies the frames of a body as they are read.
//!
//! A copy never slows the reader of the body: a copy whose own reader falls behind
//! fails.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use wasmtime_wasi_http::Error;

use super::{Discard, End, Rest, Watch, Watcher, empty};
use crate::Body;

/// Frames by which a copy may be behind before it fails.
const BEHIND_MAX: usize = 64;

/// Copies frames into the channels of the copies. A copy whose channel is full is
/// removed: its channel closes without the end mark.
struct Tee(Vec<mpsc::Sender<Frame<Bytes>>>);

/// A copy of a body.
struct TeeCopy {
    frames: mpsc::Receiver<Frame<Bytes>>,
    ended: bool,
    incomplete: Arc<AtomicBool>,
}

/// `body` and one copy of it for each flag. A flag is set when its copy turns out to
/// be incomplete. The unread `rest` of the body is discarded, and so copied.
pub(crate) fn tee(body: Body, rest: Rest, incomplete: &[Arc<AtomicBool>]) -> (Body, Vec<Body>) {
    use http_body::Body as _;
    if body.is_end_stream() {
        return (body, incomplete.iter().map(|_| empty()).collect());
    }
    let copies = incomplete.iter().map(|incomplete| {
        let (sender, frames) = mpsc::channel(BEHIND_MAX);
        let copy = TeeCopy {
            frames,
            ended: false,
            incomplete: incomplete.clone(),
        };
        (sender, copy.boxed_unsync())
    });
    let (senders, copies) = copies.unzip();
    let body = Discard::new(Watch::new(body, Tee(senders)), rest);
    (body.boxed_unsync(), copies)
}

impl Tee {
    fn send(&mut self, frame: impl Fn() -> Frame<Bytes>) {
        self.0.retain(|copy| copy.try_send(frame()).is_ok());
    }
}

impl Watcher for Tee {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
            self.send(|| Frame::data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            self.send(|| Frame::trailers(trailers.clone()));
        }
    }

    /// An empty frame marks the end.
    fn end(&mut self, end: End) {
        match end {
            End::Complete => self.send(|| Frame::data(Bytes::new())),
            End::Failed | End::Cancelled => self.0.clear(),
        }
    }
}

impl http_body::Body for TeeCopy {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match ready!(self.frames.poll_recv(context)) {
            Some(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => {
                self.ended = true;
                self.incomplete.store(true, Ordering::Relaxed);
                Poll::Ready(Some(Err(Error::ConnectionTerminated)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::HeaderMap;
    use http_body_util::StreamBody;

    use super::*;
    use crate::body::full;

    fn flags<const N: usize>() -> [Arc<AtomicBool>; N] {
        std::array::from_fn(|_| Arc::default())
    }

    fn frames(count: usize) -> Body {
        let frame = || Ok(Frame::data(Bytes::from_static(b"x")));
        let frames = stream::iter(std::iter::repeat_with(frame).take(count));
        StreamBody::new(frames).boxed_unsync()
    }

    #[tokio::test]
    async fn every_copy_has_the_data_and_the_trailers() {
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "abc".parse().expect("a value"));
        let body = full("order 66").with_trailers(async move { Some(Ok(trailers)) });
        let flags = flags::<2>();
        let (body, copies) = tee(body.boxed_unsync(), Rest::Nothing, &flags);
        assert_eq!(copies.len(), 2);
        for body in std::iter::once(body).chain(copies) {
            let all = body.collect().await.expect("a body");
            assert_eq!(all.trailers().expect("trailers")["checksum"], "abc");
            assert_eq!(all.to_bytes(), "order 66");
        }
        assert!(flags.iter().all(|flag| !flag.load(Ordering::Relaxed)));
    }

    #[tokio::test]
    async fn copy_that_falls_behind_fails_and_the_body_does_not() {
        let flags = flags::<1>();
        let (body, mut copies) = tee(frames(BEHIND_MAX + 1), Rest::Nothing, &flags);
        let all = body.collect().await.expect("a body").to_bytes();
        assert_eq!(all.len(), BEHIND_MAX + 1);
        let copy = copies.pop().expect("a copy");
        assert!(copy.collect().await.is_err());
        assert!(flags[0].load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn copy_is_complete_although_nobody_reads_the_body() {
        for (rest, complete) in [(Rest::All, true), (Rest::Nothing, false)] {
            let flags = flags::<1>();
            let (body, mut copies) = tee(frames(8), rest, &flags);
            drop(body);
            let copy = copies.pop().expect("a copy");
            assert_eq!(copy.collect().await.is_ok(), complete, "{rest:?}");
        }
    }
}
