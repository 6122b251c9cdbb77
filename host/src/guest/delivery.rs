//! The delivery of a response body from a guest to its reader.
//!
//! A reader delays nothing but a bounded buffer. The guest's work continues in a separate
//! task, which fills the buffer, and the reader empties it. When the guest is done, its
//! instance is free, even if most of the response has not been read. A guest whose reader is
//! too slow waits in its instance; it is ended after some time, or as soon as other requests
//! need the instance (see [`pace`]).
//!
//! [`pace`]: super::pace

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use parking_lot::Mutex;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error, WasiBody};

use super::output::GuestEvents;
use super::pace::{Pace, Side};
use super::pool::Work;
use super::{Deadline, Failure};
use crate::body;

/// How many bytes of one response may wait for its reader. With the 64 KiB that a guest may
/// write at once ([`super::limits::BODY_PIECE_MAX`]), most responses fit, so that their guests
/// never wait.
pub(super) const BUFFER_MAX: usize = 64 << 10;

/// How many bytes may wait for the readers of one pod. Beyond it, each response has one chunk
/// at a time, which limits the memory of slow readers by their number.
const POD_BUFFERS_MAX: usize = 16 << 20;

/// How long a reader may leave a full buffer unread.
const STALL_MAX: Duration = Duration::from_secs(30);

/// How long the end of a body of unknown length waits for the guest to return. The body also
/// ends when the guest traps on another thread, and the failure may be known only afterwards:
/// the incomplete body would look complete.
const END_GRACE: Duration = Duration::from_millis(100);

/// What one delivery needs to know about its guest.
pub(super) struct Delivery {
    /// The length of the body, if known: its reader stops there and does not poll for the end.
    pub(super) expected: Option<u64>,
    pub(super) deadline: Deadline,
    /// How long the guest may take between two frames.
    pub(super) idle: Duration,
    pub(super) killed: CancellationToken,
    pub(super) events: Arc<dyn GuestEvents>,
    /// How many bytes wait for the readers of the pod.
    pub(super) pod_buffers: Arc<AtomicUsize>,
}

/// Guards that are held until the guest has produced its whole response, regardless of the
/// reader. An extension of the response.
#[derive(Clone)]
pub(crate) struct Production(Arc<Mutex<HeldGuards>>);

#[derive(Default)]
struct HeldGuards {
    ended: bool,
    guards: Vec<Box<dyn Send>>,
}

impl Production {
    fn new(ended: bool) -> Self {
        Self(Arc::new(Mutex::new(HeldGuards {
            ended,
            guards: Vec::new(),
        })))
    }

    /// Drops `guard` when the guest is done, which may be now.
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

/// Returns the response for its reader. `work` is the guest's remaining work; `None` if the
/// guest has returned.
pub(super) fn deliver(
    response: http::Response<WasiBody>,
    work: Option<Work>,
    delivery: Delivery,
    pace: impl FnOnce() -> Arc<Pace>,
) -> http::Response<WasiBody> {
    let (mut parts, body) = response.into_parts();
    let Some(work) = work else {
        return whole(parts, in_memory(body));
    };
    let production = Production::new(false);
    parts.extensions.insert(production.clone());
    let body = delivery.start(body, work, pace(), production);
    http::Response::from_parts(parts, body)
}

/// The buffer between the guest's task and the reader.
struct Buffer {
    state: Mutex<State>,
    pod_buffers: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Result<Frame<Bytes>, Error>>,
    bytes: usize,
    /// Nothing follows the buffered frames.
    ended: bool,
    reader_left: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Room {
    Some,
    None,
    /// The reader is gone.
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
            // At half of the limit, so that the writer is not woken for every frame.
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

    /// Always unknown, even if the guest announced a length: an exact size means that the body
    /// is in memory.
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
            unconfirmed_end: None,
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
            // The instance is dropped before the reader sees the end.
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
    /// `None` when the guest has returned.
    work: Option<Work>,
    buffer: Arc<Buffer>,
    /// How many bytes are still missing, if known.
    missing: Option<u64>,
    /// The buffer contains everything that the reader needs.
    complete: bool,
    /// The guest failed: an incomplete body must not look complete.
    failed: bool,
    /// The body has ended.
    ended: bool,
    /// The body has ended before the guest returned; until then, or for [`END_GRACE`], the
    /// reader does not get the end.
    unconfirmed_end: Option<Pin<Box<Sleep>>>,
    /// Which side is waited for, and until when.
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
    /// Ready when the delivery is finished, with a failure that is not reported yet.
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
            if let Some(grace) = &mut self.unconfirmed_end {
                if self.work.is_some() && grace.poll_unpin(context).is_pending() {
                    return Poll::Pending;
                }
                self.unconfirmed_end = None;
                self.end_of_body();
            }
            if self.ended {
                if self.work.is_none() {
                    return Poll::Ready(None);
                }
                return self.wait(Waiting::Guest, context);
            }
            match self.buffer.room(context) {
                // Without a reader the rest of the body is not needed. After a whole response,
                // the guest may clean up.
                Room::NoReader if self.complete || self.inner.is_end_stream() => self.ended = true,
                Room::NoReader => return Poll::Ready(None),
                Room::None => return self.wait(Waiting::Reader, context),
                Room::Some => match Pin::new(&mut self.inner).poll_frame(context) {
                    Poll::Ready(frame) => self.pass_on(frame),
                    Poll::Pending if self.work.is_none() => {
                        // Without a frame here, the guest returned without finishing its body.
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
            None if self.work.is_some() && !self.complete => {
                self.unconfirmed_end = Some(Box::pin(tokio::time::sleep(END_GRACE)));
            }
            None => return self.end_of_body(),
        }
        // Only the guest's own work follows.
        if self.ended {
            self.buffer.end();
        }
    }

    fn end_of_body(&mut self) {
        self.ended = true;
        if self.failed {
            self.buffer.push(Err(Error::ConnectionTerminated));
        } else {
            self.complete = true;
        }
        self.buffer.end();
    }

    /// Waits for one side, until its time limit.
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
                // The guest is not responsible for its reader.
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

/// Returns the next frame if it is available, regardless of tokio's budget for the task: a
/// channel is pending when the budget is used up.
pub(super) fn at_hand(body: &mut WasiBody) -> Option<Option<Result<Frame<Bytes>, Error>>> {
    tokio::task::coop::unconstrained(body.frame()).now_or_never()
}

/// The guest has returned, so the body cannot grow: it is collected now and then has a known
/// size. A body that the guest did not finish is truncated.
fn in_memory(mut body: WasiBody) -> Vec<Result<Frame<Bytes>, Error>> {
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
    frames
}

/// A response whose guest is done and whose body is in memory.
pub(super) fn whole(
    mut parts: http::response::Parts,
    frames: Vec<Result<Frame<Bytes>, Error>>,
) -> http::Response<WasiBody> {
    parts.extensions.insert(Production::new(true));
    let body = match frames.as_slice() {
        [] => body::empty(),
        [Ok(frame)] if frame.is_data() => body::full(frame.data_ref().cloned().unwrap_or_default()),
        _ => StreamBody::new(futures::stream::iter(frames)).boxed_unsync(),
    };
    http::Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    struct NoEvents;

    impl GuestEvents for NoEvents {
        fn line(&self, _line: &crate::guest::output::GuestLine<'_>) {}
        fn failed(&self, _failure: &Failure) {}
    }

    /// A body of unknown length that has ended, of a guest whose `work` remains.
    fn delivered(work: Work) -> WasiBody {
        let frames = [Ok(Frame::data(Bytes::from_static(b"one")))];
        let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
        let delivery = Delivery {
            expected: None,
            deadline: Deadline::never(),
            idle: Duration::from_secs(60),
            killed: CancellationToken::new(),
            events: Arc::new(NoEvents),
            pod_buffers: Arc::default(),
        };
        let response = http::Response::new(body);
        deliver(response, Some(work), delivery, Arc::default).into_body()
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_ends_because_the_guest_traps_does_not_look_complete() {
        let work = async {
            tokio::time::sleep(END_GRACE / 2).await;
            Err(Failure::Trap("unreachable".into()))
        };
        assert!(delivered(work.boxed()).collect().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn body_ends_although_the_guest_goes_on_working() {
        let began = tokio::time::Instant::now();
        let body = delivered(std::future::pending().boxed());
        let all = body.collect().await.expect("no failure").to_bytes();
        assert_eq!(
            (all, began.elapsed() <= END_GRACE * 2),
            ("one".into(), true)
        );
    }

    #[tokio::test]
    async fn body_is_complete_even_if_the_task_has_used_up_its_budget() {
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
        let response = http::Response::new(());
        let body = whole(response.into_parts().0, in_memory(body)).into_body();
        let all = body.collect().await.expect("no failure").to_bytes();
        assert_eq!(all, "two pieces");
    }
}
