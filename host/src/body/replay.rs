//! A request body that can be sent again.
//!
//! What one attempt reads is buffered, up to a limit; the next attempt gets the buffer
//! first and then the unread rest. A body larger than the limit can be sent only once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use wasmtime_wasi_http::Error;

use super::empty;
use crate::Body;

/// Bytes of one request that are buffered for further attempts.
const BUFFERED_MAX: usize = 64 << 10;

/// The body of all attempts of one call.
pub(crate) enum Replay {
    Empty,
    Buffered(Arc<Mutex<BufferedBody>>),
}

pub(crate) struct BufferedBody {
    rest: Body,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    bytes: usize,
    ended: bool,
    /// More was read than the buffer holds, or the body failed: it cannot be repeated.
    spent: bool,
}

/// The body of one attempt.
struct ReplayReader {
    buffered: Arc<Mutex<BufferedBody>>,
    next: usize,
    trailers_given: bool,
}

impl Replay {
    pub(crate) fn new(body: Body) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        Self::Buffered(Arc::new(Mutex::new(BufferedBody {
            rest: body,
            frames: Vec::new(),
            trailers: None,
            bytes: 0,
            ended: false,
            spent: false,
        })))
    }

    /// The body for the next attempt.
    pub(crate) fn body(&self) -> Body {
        match self {
            Self::Empty => empty(),
            Self::Buffered(buffered) => ReplayReader {
                buffered: buffered.clone(),
                next: 0,
                trailers_given: false,
            }
            .boxed_unsync(),
        }
    }

    pub(crate) fn can_repeat(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Buffered(buffered) => !buffered.lock().spent,
        }
    }
}

impl BufferedBody {
    fn poll_rest(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.rest).poll_frame(context)) {
            None => {
                self.ended = true;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                self.spent = true;
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(frame)) => frame,
        };
        if let Some(data) = frame.data_ref() {
            self.keep(data.clone());
        } else if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            self.ended = true;
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn keep(&mut self, data: Bytes) {
        self.bytes += data.len();
        if self.bytes > BUFFERED_MAX {
            self.spent = true;
            self.frames.clear();
        }
        if !self.spent {
            self.frames.push(data);
        }
    }
}

impl http_body::Body for ReplayReader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let mut buffered = this.buffered.lock();
        if let Some(data) = buffered.frames.get(this.next).filter(|_| !buffered.spent) {
            this.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
        }
        if buffered.ended {
            let trailers = buffered.trailers.clone().filter(|_| !this.trailers_given);
            this.trailers_given = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let polled = buffered.poll_rest(context);
        this.next = buffered.frames.len();
        this.trailers_given = buffered.ended;
        polled
    }

    fn is_end_stream(&self) -> bool {
        let buffered = self.buffered.lock();
        buffered.ended
            && self.next >= buffered.frames.len()
            && (self.trailers_given || buffered.trailers.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let buffered = self.buffered.lock();
        if buffered.frames.is_empty() {
            buffered.rest.size_hint()
        } else {
            SizeHint::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::StreamBody;

    use super::*;
    use crate::body::full;

    async fn text(body: Body) -> String {
        let bytes = body.collect().await.expect("a body").to_bytes();
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[tokio::test]
    async fn small_body_is_sent_as_often_as_needed() {
        let replay = Replay::new(full("order 66"));
        for _ in 0..3 {
            assert!(replay.can_repeat());
            assert_eq!(text(replay.body()).await, "order 66");
        }
    }

    #[tokio::test]
    async fn attempt_that_reads_half_leaves_the_whole_to_the_next() {
        let frames = ["first ", "second"].map(|part| Ok(Frame::data(Bytes::from(part))));
        let replay = Replay::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync());
        let mut half = replay.body();
        half.frame().await.expect("a frame").expect("data");
        drop(half);
        assert_eq!(text(replay.body()).await, "first second");
    }

    #[tokio::test]
    async fn trailers_are_repeated() {
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", "abc".parse().expect("a value"));
        let replay = Replay::new(
            full("x")
                .with_trailers(async move { Some(Ok(trailers)) })
                .boxed_unsync(),
        );
        for _ in 0..2 {
            let collected = replay.body().collect().await.expect("a body");
            assert_eq!(collected.trailers().expect("trailers")["checksum"], "abc");
        }
    }

    #[tokio::test]
    async fn large_body_is_sent_once() {
        let replay = Replay::new(full("x".repeat(BUFFERED_MAX + 1)));
        assert_eq!(text(replay.body()).await.len(), BUFFERED_MAX + 1);
        assert!(!replay.can_repeat());
    }
}
