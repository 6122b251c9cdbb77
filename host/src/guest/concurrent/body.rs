//! The body of a response: in memory if the guest has written it during the run that produced
//! the response, otherwise a stream that the guest continues.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime_wasi_http::{Error, WasiBody};

use super::progress::Progress;
use super::shared::Claim;
use crate::context::RequestContext;
use crate::guest::delivery::{BUFFER_MAX, at_hand};
use crate::guest::kill::Kill;
use crate::guest::pace::{Pace, Side};

pub(super) type Frames = VecDeque<Result<Frame<Bytes>, Error>>;

/// What the guest has written.
pub(super) struct WrittenFrames {
    pub frames: Frames,
    /// `None` if nothing follows.
    pub rest: Option<WasiBody>,
}

/// Takes what the guest has written, and lets it write on for as long as the run lasts.
/// Without a claim, another task runs the guest.
pub(super) fn take_written(
    mut body: WasiBody,
    mut claim: Option<&mut Claim>,
    progress: &Progress,
) -> WrittenFrames {
    let (mut frames, mut bytes) = (Frames::new(), 0);
    while bytes < BUFFER_MAX {
        match at_hand(&mut body) {
            Some(Some(frame)) => {
                let failed = frame.is_err();
                bytes += frame.as_ref().map_or(0, |frame| {
                    frame.data_ref().map_or(1, |data| data.len().max(1))
                });
                frames.push_back(frame);
                if failed {
                    return WrittenFrames { frames, rest: None };
                }
            }
            Some(None) => {
                // The body of a guest that failed ends too, and must not look complete.
                if progress.has_failed() {
                    frames.push_back(Err(Error::ConnectionTerminated));
                }
                return WrittenFrames { frames, rest: None };
            }
            None if claim.as_mut().is_some_and(|claim| claim.go_on()) => {}
            None => break,
        }
    }
    let rest = Some(body);
    WrittenFrames { frames, rest }
}

/// The rest of a response. It holds the permit of its request until it has been read, or until
/// another request needs the permit.
pub(super) struct PermitBody {
    content: Arc<Mutex<Option<Content>>>,
    progress: Arc<Progress>,
    kill: Kill,
    pace: Arc<Pace>,
}

/// What a response holds until it has been read.
pub(super) struct Content {
    pub frames: Frames,
    pub rest: WasiBody,
    /// The guest may still make outgoing calls for the request.
    pub _context: Arc<RequestContext>,
    pub _permit: Option<OwnedSemaphorePermit>,
}

/// Takes the content of a response whose reader is ousted.
struct Oust(Arc<Mutex<Option<Content>>>);

impl Drop for Oust {
    fn drop(&mut self) {
        let content = self.0.lock().take();
        drop(content);
    }
}

impl PermitBody {
    pub(super) fn new(
        content: Content,
        progress: Arc<Progress>,
        kill: Kill,
        pace: Arc<Pace>,
    ) -> Self {
        let content = Arc::new(Mutex::new(Some(content)));
        pace.frees(Oust(content.clone()));
        Self {
            content,
            progress,
            kill,
            pace,
        }
    }

    pub(super) fn boxed(self) -> WasiBody {
        self.boxed_unsync()
    }
}

impl Content {
    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }
}

impl Body for PermitBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let terminated = Poll::Ready(Some(Err(Error::ConnectionTerminated)));
        self.pace.goes_on(Side::Reader);
        let polled = match &mut *self.content.lock() {
            Some(content) => content.poll_frame(context),
            None => return terminated,
        };
        match polled {
            Poll::Pending => {
                ready!(self.kill.poll(context));
                terminated
            }
            Poll::Ready(Some(Ok(frame))) => {
                // Until the reader asks for the next frame.
                self.pace.waits(Side::Reader);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(end) => {
                drop(self.content.lock().take());
                // As in `take_written`.
                if end.is_none() && self.progress.has_failed() {
                    return terminated;
                }
                Poll::Ready(end)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let content = self.content.lock();
        content.as_ref().is_some_and(|it| {
            it.frames.is_empty() && it.rest.is_end_stream() && !self.progress.has_failed()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let content = self.content.lock();
        let exact = content.as_ref().and_then(|content| {
            let frames = content.frames.iter().flatten().filter_map(Frame::data_ref);
            let bytes: usize = frames.map(Bytes::len).sum();
            Some(content.rest.size_hint().exact()? + bytes as u64)
        });
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
