//! The body of a response, which keeps its request under way until it ends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::activity::InFlight;
use super::streams::Progress;

/// Bytes of one piece on HTTP/2: a piece is queued whole as soon as the client
/// takes one byte, so it bounds what a stream keeps for a client that stalls.
const PIECE_MAX: usize = 16 << 10;

/// A service's body, or one of the listener's own.
pub(super) struct ResponseBody<B> {
    inner: Source<B>,
    /// What is left of a frame that was too large for one piece.
    rest: Bytes,
    /// Of the HTTP/2 stream.
    progress: Option<Arc<Progress>>,
    _request: InFlight,
}

enum Source<B> {
    Service(B),
    Text(Bytes),
}

impl<B> ResponseBody<B> {
    pub(super) fn new(inner: B, request: InFlight, progress: Option<Arc<Progress>>) -> Self {
        Self {
            inner: Source::Service(inner),
            rest: Bytes::new(),
            progress,
            _request: request,
        }
    }

    pub(super) fn text(text: &'static str, request: InFlight) -> Self {
        Self {
            inner: Source::Text(Bytes::from_static(text.as_bytes())),
            rest: Bytes::new(),
            progress: None,
            _request: request,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let body = match &mut this.inner {
            Source::Service(body) => body,
            Source::Text(text) => {
                let text = std::mem::take(text);
                return Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))));
            }
        };
        let Some(progress) = &this.progress else {
            return Pin::new(body).poll_frame(context);
        };
        if this.rest.is_empty() {
            progress.awaited();
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        progress.handed_over();
        let count = this.rest.len().min(PIECE_MAX);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Source::Service(body) => self.rest.is_empty() && body.is_end_stream(),
            Source::Text(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match &self.inner {
            Source::Text(text) => SizeHint::with_exact(text.len() as u64),
            Source::Service(body) if rest == 0 => body.size_hint(),
            Source::Service(body) => {
                let mut hint = body.size_hint();
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(rest));
                }
                hint.set_lower(hint.lower().saturating_add(rest));
                hint
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, Full};

    use super::super::activity::Activity;
    use super::*;

    #[tokio::test]
    async fn large_frame_goes_in_pieces_to_http2_and_whole_to_http1() {
        let activity = Arc::new(Activity::new());
        for (progress, pieces) in [(None, 1), (Some(Arc::default()), 3)] {
            let inner = Full::new(Bytes::from(vec![7; 2 * PIECE_MAX + 1]));
            let mut body = ResponseBody::new(inner, activity.begin(), progress);
            assert_eq!(body.size_hint().exact(), Some(2 * PIECE_MAX as u64 + 1));
            let (mut count, mut total) = (0, 0);
            while let Some(frame) = body.frame().await {
                let data = frame.expect("no error").into_data().expect("data");
                assert_eq!(
                    body.size_hint().exact(),
                    Some((2 * PIECE_MAX + 1 - total - data.len()) as u64)
                );
                total += data.len();
                count += 1;
            }
            assert_eq!((count, total), (pieces, 2 * PIECE_MAX + 1));
            assert!(body.is_end_stream());
        }
    }

    #[tokio::test]
    async fn request_is_under_way_until_the_body_is_gone() {
        let activity = Arc::new(Activity::new());
        let body: ResponseBody<Full<Bytes>> = ResponseBody::text("no", activity.begin());
        assert!(!activity.is_idle());
        let text: Result<_, Infallible> = body.collect().await;
        assert_eq!(text.expect("text").to_bytes(), "no");
        assert!(activity.is_idle());
    }
}
