//! A response body that carries the rest of the guest's work.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

use super::kill::Kill;
use super::output::GuestEvents;
use super::pool::Work;
use super::{Deadline, Failure};

/// Reading it runs the guest; dropping it before the end abandons the guest.
pub(super) struct GuestBody {
    inner: WasiBody,
    /// None once the guest has returned.
    work: Option<Work>,
    ended: bool,
    /// The guest ended badly: what there is of the body must not look complete.
    failed: bool,
    /// Bytes that are still to come, where the response says how many: its
    /// reader stops there, and never asks for the end.
    missing: Option<u64>,
    deadline: Deadline,
    /// How long the guest may take between two frames.
    idle: Duration,
    /// Runs while a frame is awaited.
    timer: Option<Pin<Box<Sleep>>>,
    kill: Kill,
    events: Arc<dyn GuestEvents>,
}

impl GuestBody {
    pub(super) fn boxed(
        inner: WasiBody,
        work: Option<Work>,
        expected: Option<u64>,
        deadline: Deadline,
        idle: Duration,
        kill: Kill,
        events: Arc<dyn GuestEvents>,
    ) -> WasiBody {
        if work.is_none() {
            return in_memory(inner);
        }
        deadline.set(Instant::now() + idle);
        Self {
            inner,
            work,
            ended: expected == Some(0),
            failed: false,
            missing: expected,
            deadline,
            idle,
            timer: None,
            kill,
            events,
        }
        .boxed_unsync()
    }

    fn poll_work(&mut self, context: &mut Context<'_>) {
        let Some(work) = &mut self.work else { return };
        if let Poll::Ready(result) = work.poll_unpin(context) {
            self.work = None;
            if let Err(failure) = result {
                self.failed = true;
                self.events.failed(&failure);
            }
        }
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        timer.poll_unpin(context)
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_work(context);
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                let read = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(missing) = &mut self.missing {
                    *missing = missing.saturating_sub(read);
                    self.ended = *missing == 0;
                }
                self.deadline.set(Instant::now() + self.idle);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) if self.failed => Poll::Ready(Some(Err(Error::ConnectionTerminated))),
            Poll::Ready(other) => {
                self.ended = other.is_none();
                Poll::Ready(other)
            }
            Poll::Pending if self.kill.poll(context).is_ready() => {
                self.work = None;
                self.events.failed(&Failure::Killed);
                Poll::Ready(Some(Err(Error::ConnectionTerminated)))
            }
            Poll::Pending => {
                ready!(self.poll_timer(context));
                self.work = None;
                self.events.failed(&Failure::Deadline);
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.failed && self.inner.is_end_stream()
    }

    /// Unknown, whatever the guest announced: an exact size would say that
    /// the body is in memory.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The guest has returned, so its body cannot grow: what it left is taken out
/// at once, and has a size then. A body that it never finished is cut short.
fn in_memory(mut body: WasiBody) -> WasiBody {
    let mut context = Context::from_waker(Waker::noop());
    let mut frames = Vec::new();
    loop {
        match Pin::new(&mut body).poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => frames.push(Ok(frame)),
            Poll::Ready(Some(Err(error))) => {
                frames.push(Err(error));
                break;
            }
            Poll::Ready(None) => break,
            Poll::Pending => {
                frames.push(Err(Error::ConnectionTerminated));
                break;
            }
        }
    }
    match frames.as_slice() {
        [] => Empty::new()
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
        [Ok(frame)] if frame.is_data() => {
            let data = frame.data_ref().cloned().unwrap_or_default();
            Full::new(data)
                .map_err(|never: Infallible| match never {})
                .boxed_unsync()
        }
        _ => StreamBody::new(futures::stream::iter(frames)).boxed_unsync(),
    }
}

impl Drop for GuestBody {
    /// The response is complete, the guest may still be tidying up: it gets the
    /// idle time to do so, on a task of its own.
    fn drop(&mut self) {
        let complete = self.ended || self.inner.is_end_stream();
        let (Some(work), true) = (self.work.take(), complete) else {
            return;
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (idle, events) = (self.idle, self.events.clone());
        runtime.spawn(async move {
            let failure = match tokio::time::timeout(idle, work).await {
                Ok(Ok(())) => return,
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Deadline,
            };
            events.failed(&failure);
        });
    }
}
