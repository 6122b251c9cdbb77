//! A listener's response body: frames in pieces, and something held until the end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes of one piece on HTTP/2. A piece is queued whole as soon as the client takes
/// one byte, so this limits what a stream buffers for a client that stalls.
const PIECE_MAX: usize = 16 << 10;

/// Whose turn it is: the producer's or the client's.
pub(crate) trait Turns {
    /// The producer has to provide the next frame.
    fn awaited(&self);

    /// A piece was passed on: the client has to take it.
    fn handed_over(&self);
}

/// A body, or a short text, that holds `G` until it is dropped. With `T` its frames are
/// cut into pieces, and `T` learns whose turn it is.
pub(crate) struct Pieces<B, T, G> {
    content: Content<B>,
    /// The rest of a frame that was too large for one piece.
    rest: Bytes,
    turns: Option<T>,
    _held: G,
}

enum Content<B> {
    Body(B),
    Text(Bytes),
}

impl<B, T, G> Pieces<B, T, G> {
    pub(crate) fn new(body: B, turns: Option<T>, held: G) -> Self {
        Self {
            content: Content::Body(body),
            rest: Bytes::new(),
            turns,
            _held: held,
        }
    }

    pub(crate) fn text(text: impl Into<Bytes>, held: G) -> Self {
        Self {
            content: Content::Text(text.into()),
            rest: Bytes::new(),
            turns: None,
            _held: held,
        }
    }

    /// Drops what has not been read.
    pub(crate) fn clear(&mut self) {
        self.content = Content::Text(Bytes::new());
        self.rest = Bytes::new();
    }
}

impl<B, T, G> Body for Pieces<B, T, G>
where
    B: Body<Data = Bytes> + Unpin,
    T: Turns + Unpin,
    G: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let body = match &mut this.content {
            Content::Body(body) => body,
            Content::Text(text) => {
                let text = std::mem::take(text);
                return Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))));
            }
        };
        let Some(turns) = &this.turns else {
            return Pin::new(body).poll_frame(context);
        };
        if this.rest.is_empty() {
            turns.awaited();
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        turns.handed_over();
        let count = this.rest.len().min(PIECE_MAX);
        Poll::Ready(Some(Ok(Frame::data(this.rest.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Body(body) => self.rest.is_empty() && body.is_end_stream(),
            Content::Text(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.len() as u64;
        match &self.content {
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
            Content::Body(body) if rest == 0 => body.size_hint(),
            Content::Body(body) => {
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
    use std::sync::Arc;

    use http_body_util::{BodyExt, Full};

    use super::*;

    struct NoTurns;

    impl Turns for NoTurns {
        fn awaited(&self) {}

        fn handed_over(&self) {}
    }

    #[tokio::test]
    async fn large_frame_is_cut_into_pieces_only_where_turns_count() {
        for (turns, pieces) in [(None, 1), (Some(NoTurns), 3)] {
            let inner = Full::new(Bytes::from(vec![7; 2 * PIECE_MAX + 1]));
            let mut body = Pieces::new(inner, turns, ());
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
    async fn something_is_held_until_the_body_is_dropped() {
        let held = Arc::new(());
        let body: Pieces<Full<Bytes>, NoTurns, _> = Pieces::text("no", held.clone());
        assert_eq!(Arc::strong_count(&held), 2);
        assert_eq!(body.collect().await.expect("text").to_bytes(), "no");
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
