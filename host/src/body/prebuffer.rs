//! Reads the beginning of a body into memory before it is needed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::Error;

use super::{empty, full};
use crate::Body;

/// How much is read, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BeginningLimits {
    pub bytes: usize,
    /// Frames, which may be empty.
    pub frames: usize,
    pub time: Duration,
}

/// How reading the beginning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// The whole body is in memory.
    Whole,
    /// The body is larger than the limits.
    Full,
    /// The time was over before the end of the body.
    Late,
}

/// `body`, with its beginning in memory.
pub(crate) async fn prebuffer(mut body: Body, limits: BeginningLimits) -> (Body, Beginning) {
    let mut frames: Vec<Result<Frame<Bytes>, Error>> = Vec::new();
    let mut bytes = 0;
    let mut end = Beginning::Full;
    let until = Instant::now() + limits.time;
    while bytes < limits.bytes && frames.len() < limits.frames {
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return (whole(frames), Beginning::Whole),
            Err(_) => {
                end = Beginning::Late;
                break;
            }
        };
        let data = frame.as_ref().ok().and_then(Frame::data_ref);
        bytes += data.map_or(0, Bytes::len);
        let failed = frame.is_err();
        frames.push(frame);
        if failed || body.is_end_stream() {
            return (whole(frames), Beginning::Whole);
        }
    }
    let body = Prebuffer {
        beginning: frames.into(),
        rest: body,
    };
    (body.boxed_unsync(), end)
}

/// Frames of the beginning of a body. Empty ones are only sent to cost something.
const BEGINNING_FRAMES_MAX: usize = 16_384;

/// Reads up to `bytes_max` bytes of `body`, which stays whole. Also returns whether the body
/// has more.
pub(crate) async fn read_beginning(body: &mut Body, bytes_max: usize) -> (Bytes, bool) {
    let mut rest = std::mem::replace(body, empty());
    let mut frames: Vec<Result<Frame<Bytes>, Error>> = Vec::new();
    let mut beginning = BytesMut::new();
    let mut is_whole = rest.is_end_stream();
    while !is_whole && beginning.len() <= bytes_max && frames.len() < BEGINNING_FRAMES_MAX {
        let Some(frame) = rest.frame().await else {
            is_whole = true;
            break;
        };
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            beginning.extend_from_slice(data);
        }
        is_whole = frame.is_err() || rest.is_end_stream();
        frames.push(frame);
    }
    *body = match is_whole {
        true => whole(frames),
        false => Prebuffer {
            beginning: frames.into(),
            rest,
        }
        .boxed_unsync(),
    };
    let has_more = !is_whole || beginning.len() > bytes_max;
    beginning.truncate(bytes_max);
    (beginning.freeze(), has_more)
}

/// One frame if possible: most guests read that at once.
fn whole(mut frames: Vec<Result<Frame<Bytes>, Error>>) -> Body {
    if frames.len() == 1
        && let Some(Ok(frame)) = frames.pop_if(|frame| frame.as_ref().is_ok_and(Frame::is_data))
    {
        return full(frame.into_data().unwrap_or_default());
    }
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// A body whose beginning is in memory.
struct Prebuffer {
    beginning: VecDeque<Result<Frame<Bytes>, Error>>,
    rest: Body,
}

impl http_body::Body for Prebuffer {
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

    /// Unknown: what is in memory is not part of the hint of the rest.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;

    use super::*;

    const LIMITS: BeginningLimits = BeginningLimits {
        bytes: 64 << 10,
        frames: 16,
        time: Duration::from_secs(1),
    };

    type Frames = mpsc::Sender<Result<Frame<Bytes>, Error>>;

    fn body() -> (Frames, Body) {
        let (frames, received) = mpsc::channel(LIMITS.frames);
        (frames, StreamBody::new(received).boxed_unsync())
    }

    fn send(frames: &Frames, bytes: usize) {
        let frame = Frame::data(Bytes::from(vec![b'x'; bytes]));
        frames.clone().try_send(Ok(frame)).expect("a reader");
    }

    async fn length(body: Body) -> usize {
        body.collect().await.expect("a body").to_bytes().len()
    }

    #[tokio::test]
    async fn small_body_is_read_to_its_end() {
        let (frames, body) = body();
        send(&frames, 10);
        let mut waiting = Box::pin(prebuffer(body, LIMITS));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        send(&frames, 5);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        drop(frames);
        let (body, end) = waiting.await;
        assert_eq!(end, Beginning::Whole);
        assert_eq!(length(body).await, 15);
    }

    #[tokio::test]
    async fn large_body_is_complete_and_only_its_beginning_is_in_memory() {
        let (frames, body) = body();
        send(&frames, LIMITS.bytes);
        let (body, end) = prebuffer(body, LIMITS).await;
        assert_eq!(end, Beginning::Full);
        send(&frames, 7);
        drop(frames);
        assert_eq!(length(body).await, LIMITS.bytes + 7);
    }

    #[tokio::test]
    async fn empty_frames_are_bounded_too() {
        let (frames, body) = body();
        for _ in 0..LIMITS.frames {
            send(&frames, 0);
        }
        let (_, end) = prebuffer(body, LIMITS).await;
        assert_eq!(end, Beginning::Full);
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_is_complete_and_reported() {
        let (frames, body) = body();
        send(&frames, 3);
        let (body, end) = prebuffer(body, LIMITS).await;
        assert_eq!(end, Beginning::Late);
        send(&frames, 4);
        drop(frames);
        assert_eq!(length(body).await, 7);
    }

    /// The beginning, whether there is more, and the length of the whole body.
    async fn beginning_of(parts: &[usize], bytes_max: usize) -> (usize, bool, usize) {
        let (frames, mut body) = body();
        for bytes in parts {
            send(&frames, *bytes);
        }
        drop(frames);
        let (beginning, has_more) = read_beginning(&mut body, bytes_max).await;
        (beginning.len(), has_more, length(body).await)
    }

    #[tokio::test]
    async fn beginning_is_read_and_the_body_stays_whole() {
        for (parts, bytes_max, expected) in [
            (&[][..], 10, (0, false, 0)),
            (&[10], 10, (10, false, 10)),
            (&[4, 6], 10, (10, false, 10)),
            (&[4, 7], 10, (10, true, 11)),
            (&[100, 100], 10, (10, true, 200)),
        ] {
            assert_eq!(beginning_of(parts, bytes_max).await, expected, "{parts:?}");
        }
    }

    #[tokio::test]
    async fn failed_body_stays_failed() {
        let (frames, body) = body();
        send(&frames, 10);
        let failure = Err(Error::ConnectionTerminated);
        frames.clone().try_send(failure).expect("a reader");
        let (body, _) = prebuffer(body, LIMITS).await;
        assert!(body.collect().await.is_err());
    }
}
