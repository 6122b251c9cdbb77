//! A response body on its way from a guest to its reader.
//!
//! The rule kept here: a reader paces nothing but a bounded buffer. The guest's
//! work goes on in a task of its own, which fills the buffer; the reader empties
//! it. A guest that is done is gone, however much of its response is still to be
//! read. A guest whose reader does not keep up waits in its own instance, and is
//! ended after a time, or as soon as others need the instance (see [`pace`]).
//!
//! [`pace`]: super::pace

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use parking_lot::Mutex;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

use super::output::GuestEvents;
use super::pace::{Pace, Side};
use super::pool::Work;
use super::{Deadline, Failure};

/// Bytes of one response that wait for its reader. With the 64 KiB that a guest may
/// write at once ([`super::limits::BODY_PIECE_MAX`]) most responses fit, so that their guests never
/// wait.
const BUFFER_MAX: usize = 64 << 10;

/// Bytes that wait for the readers of one pod. Beyond it each response has one
/// chunk at a time: what slow readers cost stays bounded by their number.
const POD_BUFFERS_MAX: usize = 16 << 20;

/// How long a reader may take nothing from a full buffer, at most.
const STALL_MAX: Duration = Duration::from_secs(30);

/// What one delivery knows of its guest.
pub(super) struct Delivery {
    /// Bytes of the body, where that is known: its reader stops there, and never
    /// asks for the end.
    pub(super) expected: Option<u64>,
    pub(super) deadline: Deadline,
    /// How long the guest may take between two frames.
    pub(super) idle: Duration,
    pub(super) killed: CancellationToken,
    pub(super) events: Arc<dyn GuestEvents>,
    /// Bytes that wait for the readers of the pod.
    pub(super) pod_buffers: Arc<AtomicUsize>,
}

/// What a response holds until its guest has produced the whole of it, however
/// long its reader takes. An extension of the response.
#[derive(Clone)]
pub(crate) struct Production(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    ended: bool,
    guards: Vec<Box<dyn Send>>,
}

impl Production {
    fn new(ended: bool) -> Self {
        Self(Arc::new(Mutex::new(Held {
            ended,
            guards: Vec::new(),
        })))
    }

    /// Drops `guard` when the guest is done; at once where it is already.
    pub(crate) fn hold(&self, guard: impl Send + 'static) {
        let mut held = self.0.lock();
        if !held.ended {
            held.guards.push(Box::new(guard));
        }
    }

    fn end(&self) {
        let guards = {
            let mut held = self.0.lock();
            held.ended = true;
            std::mem::take(&mut held.guards)
        };
        drop(guards);
    }
}

/// The response as its reader gets it. `work` is what the guest still does; none
/// once it has returned.
pub(super) fn deliver(
    response: http::Response<WasiBody>,
    work: Option<Work>,
    delivery: Delivery,
    pace: impl FnOnce() -> Arc<Pace>,
) -> http::Response<WasiBody> {
    let (mut parts, body) = response.into_parts();
    let production = Production::new(work.is_none());
    parts.extensions.insert(production.clone());
    let body = match work {
        None => in_memory(body),
        Some(work) => delivery.start(body, work, pace(), production),
    };
    http::Response::from_parts(parts, body)
}

/// Between the guest's task and the reader.
struct Buffer {
    state: Mutex<State>,
    pod_buffers: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Result<Frame<Bytes>, Error>>,
    bytes: usize,
    /// Nothing follows what is here.
    ended: bool,
    reader_left: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Room {
    Some,
    None,
    /// Nobody reads any more.
    NoReader,
}

impl Buffer {
    fn room(&self, context: &Context<'_>) -> Room {
        let mut state = self.state.lock();
        if state.reader_left {
            return Room::NoReader;
        }
        let pod_is_full = self.pod_buffers.load(Ordering::Relaxed) >= POD_BUFFERS_MAX;
        state.writer = Some(context.waker().clone());
        if state.bytes == 0 || (state.bytes < BUFFER_MAX && !pod_is_full) {
            Room::Some
        } else {
            Room::None
        }
    }

    fn push(&self, frame: Result<Frame<Bytes>, Error>) {
        let mut state = self.state.lock();
        if state.reader_left {
            return;
        }
        let bytes = length(&frame);
        state.bytes += bytes;
        self.pod_buffers.fetch_add(bytes, Ordering::Relaxed);
        state.frames.push_back(frame);
        wake(state.reader.take());
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        wake(state.reader.take());
    }
}

fn length(frame: &Result<Frame<Bytes>, Error>) -> usize {
    let data = frame.as_ref().ok().and_then(Frame::data_ref);
    data.map_or(0, Bytes::len)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The reader's side.
struct Reader(Arc<Buffer>);

impl Body for Reader {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let buffer = &self.0;
        let mut state = buffer.state.lock();
        if let Some(frame) = state.frames.pop_front() {
            let bytes = length(&frame);
            state.bytes -= bytes;
            buffer.pod_buffers.fetch_sub(bytes, Ordering::Relaxed);
            // In halves: a writer is not woken for every frame.
            if state.bytes <= BUFFER_MAX / 2 {
                wake(state.writer.take());
            }
            return Poll::Ready(Some(frame));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.state.lock();
        state.ended && state.frames.is_empty()
    }

    /// Unknown, whatever the guest announced: an exact size would say that
    /// the body is in memory.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.reader_left = true;
        state.frames.clear();
        let bytes = std::mem::take(&mut state.bytes);
        self.0.pod_buffers.fetch_sub(bytes, Ordering::Relaxed);
        wake(state.writer.take());
    }
}

impl Delivery {
    fn start(
        self,
        inner: WasiBody,
        work: Work,
        pace: Arc<Pace>,
        production: Production,
    ) -> WasiBody {
        let buffer = Arc::new(Buffer {
            state: Mutex::default(),
            pod_buffers: self.pod_buffers.clone(),
        });
        self.deadline.set(Instant::now() + self.idle);
        let mut writer = Writer {
            inner,
            work: Some(work),
            buffer: buffer.clone(),
            missing: self.expected,
            complete: self.expected == Some(0),
            failed: false,
            ended: false,
            waiting: None,
            pace,
            delivery: self,
        };
        tokio::spawn(async move {
            let killed = writer.delivery.killed.clone();
            let failure = tokio::select! {
                biased;
                failure = poll_fn(|context| writer.poll(context)) => failure,
                () = killed.cancelled() => Some(Failure::Killed),
            };
            if let Some(failure) = failure {
                let error = match &failure {
                    Failure::Deadline => Error::ConnectionReadTimeout,
                    _ => Error::ConnectionTerminated,
                };
                if !writer.ended && !writer.complete {
                    writer.buffer.push(Err(error));
                }
                writer.delivery.events.failed(&failure);
            }
            // The instance goes before its reader learns of the end.
            writer.work = None;
            writer.buffer.end();
            production.end();
        });
        Reader(buffer).boxed_unsync()
    }
}

/// The guest's side.
struct Writer {
    inner: WasiBody,
    /// None once the guest has returned.
    work: Option<Work>,
    buffer: Arc<Buffer>,
    /// Bytes that are still to come, where that is known.
    missing: Option<u64>,
    /// The reader has, or will have, all that it asks for.
    complete: bool,
    /// The guest ended badly: what there is of the body must not look complete.
    failed: bool,
    /// The body has ended.
    ended: bool,
    /// What is waited for, and until when.
    waiting: Option<(Waiting, Pin<Box<Sleep>>)>,
    pace: Arc<Pace>,
    delivery: Delivery,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Guest,
    Reader,
}

impl Writer {
    /// Ready when there is nothing more to do, with the failure that is not yet told.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Failure>> {
        loop {
            if let Some(work) = &mut self.work
                && let Poll::Ready(result) = work.poll_unpin(context)
            {
                self.work = None;
                if let Err(failure) = result {
                    self.failed = true;
                    self.delivery.events.failed(&failure);
                }
            }
            if self.ended {
                if self.work.is_none() {
                    return Poll::Ready(None);
                }
                return self.wait(Waiting::Guest, context);
            }
            match self.buffer.room(context) {
                // What the reader does not want any more the guest need not make; after
                // a whole response it may tidy up.
                Room::NoReader if self.complete || self.inner.is_end_stream() => self.ended = true,
                Room::NoReader => return Poll::Ready(None),
                Room::None => return self.wait(Waiting::Reader, context),
                Room::Some => match Pin::new(&mut self.inner).poll_frame(context) {
                    Poll::Ready(frame) => self.pass_on(frame),
                    Poll::Pending if self.work.is_none() => {
                        // Otherwise the guest returned without finishing its body.
                        let frame = at_hand(&mut self.inner);
                        self.pass_on(frame.unwrap_or(Some(Err(Error::ConnectionTerminated))));
                    }
                    Poll::Pending => return self.wait(Waiting::Guest, context),
                },
            }
        }
    }

    fn pass_on(&mut self, frame: Option<Result<Frame<Bytes>, Error>>) {
        self.waiting = None;
        self.pace.goes_on(Side::Reader);
        match frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(missing) = &mut self.missing {
                    *missing = missing.saturating_sub(bytes);
                    self.complete = *missing == 0;
                }
                self.delivery
                    .deadline
                    .set(Instant::now() + self.delivery.idle);
                self.buffer.push(Ok(frame));
            }
            Some(Err(error)) => {
                self.ended = true;
                self.buffer.push(Err(error));
            }
            None => {
                self.ended = true;
                if self.failed {
                    self.buffer.push(Err(Error::ConnectionTerminated));
                } else {
                    self.complete = true;
                }
            }
        }
        // What follows is for the guest alone.
        if self.ended {
            self.buffer.end();
        }
    }

    /// Waits for one side, for as long as it may take.
    fn wait(&mut self, side: Waiting, context: &mut Context<'_>) -> Poll<Option<Failure>> {
        let idle = self.delivery.idle;
        let allowed = match side {
            Waiting::Guest => idle,
            Waiting::Reader => idle.min(STALL_MAX),
        };
        if self
            .waiting
            .as_ref()
            .is_none_or(|(before, _)| *before != side)
        {
            self.waiting = Some((side, Box::pin(tokio::time::sleep(allowed))));
        }
        let pace = &self.pace;
        match side {
            Waiting::Guest => pace.goes_on(Side::Reader),
            Waiting::Reader => {
                // What its reader does is not the guest's fault.
                self.delivery.deadline.set(Instant::now() + idle);
                pace.waits(Side::Reader);
            }
        }
        if pace.poll_ousted(context).is_ready() {
            return Poll::Ready(Some(Failure::Ousted));
        }
        let over = self
            .waiting
            .as_mut()
            .is_some_and(|(_, timer)| timer.poll_unpin(context).is_ready());
        match side {
            _ if !over => Poll::Pending,
            Waiting::Guest => Poll::Ready(Some(Failure::Deadline)),
            Waiting::Reader => Poll::Ready(Some(Failure::Stalled)),
        }
    }
}

/// The next frame, where it is there already, whatever is left of the budget that
/// tokio gives a task: a channel says pending when that is used up.
fn at_hand(body: &mut WasiBody) -> Option<Option<Result<Frame<Bytes>, Error>>> {
    tokio::task::coop::unconstrained(body.frame()).now_or_never()
}

/// The guest has returned, so its body cannot grow: what it left is taken out
/// at once, and has a size then. A body that it never finished is cut short.
fn in_memory(mut body: WasiBody) -> WasiBody {
    let mut frames = Vec::new();
    loop {
        match at_hand(&mut body) {
            Some(Some(Ok(frame))) => frames.push(Ok(frame)),
            Some(Some(Err(error))) => {
                frames.push(Err(error));
                break;
            }
            Some(None) => break,
            None => {
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn body_is_whole_although_the_task_has_used_up_its_budget() {
        let (sender, mut frames) = mpsc::channel(3);
        for text in ["two ", "pieces"] {
            let frame = Ok(Frame::data(Bytes::from_static(text.as_bytes())));
            sender.try_send(frame).expect("room");
        }
        drop(sender);
        let frames = futures::stream::poll_fn(move |context| frames.poll_recv(context));
        let body = StreamBody::new(frames).boxed_unsync();
        let spent = std::iter::repeat_with(|| tokio::task::consume_budget().now_or_never());
        assert!(spent.take(1_000).any(|it| it.is_none()));
        let body = in_memory(body);
        let all = body.collect().await.expect("no failure").to_bytes();
        assert_eq!(all, "two pieces");
    }
}
