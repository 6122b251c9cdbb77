//! Guests that wait for their clients, and what happens when others need their
//! instances.
//!
//! A client that sends or reads slowly keeps a guest waiting, and with it an
//! instance. That is fine while there are instances enough. When a request waits
//! for one, the guest that has waited longest for its client is ended for it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use wasmtime_wasi_http::{Error, WasiBody};

use super::deadline::since_origin;

/// A client on a slow line pauses for less.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a request that waits for an instance looks for one to take.
pub(super) const OUST_EVERY: Duration = Duration::from_millis(100);

/// An extension of a request whose client sends its body slowly: it has an instance
/// only as long as no other request needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LateBody;

/// Which part of a client a guest waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// The rest of its request.
    Sender,
    /// Room for more of the response.
    Reader,
}

/// Of one request: whether its guest waits for its client.
#[derive(Default)]
pub(super) struct Pace {
    /// By [`Side`]: since when, in milliseconds of [`since_origin`] plus one; 0: the
    /// guest does not wait.
    waiting_since: [AtomicU64; 2],
    ousted: AtomicBool,
    waker: AtomicWaker,
    /// Dropped when it is ousted.
    held: Mutex<Option<Box<dyn Send>>>,
}

impl Pace {
    /// The guest waits for its client.
    pub(super) fn waits(&self, side: Side) {
        let now = millis(since_origin(Instant::now())).saturating_add(1);
        // The earliest time counts.
        let _ = self
            .waiting(side)
            .compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The guest waits for its client from the beginning, and for long already.
    pub(super) fn is_late(&self) {
        self.waiting(Side::Sender).store(1, Ordering::Relaxed);
    }

    /// The client has done its part.
    pub(super) fn goes_on(&self, side: Side) {
        self.waiting(side).store(0, Ordering::Relaxed);
    }

    fn waiting(&self, side: Side) -> &AtomicU64 {
        let [sender, reader] = &self.waiting_since;
        match side {
            Side::Sender => sender,
            Side::Reader => reader,
        }
    }

    /// Since when, on either side; none where it waits for nobody.
    fn since(&self) -> Option<u64> {
        let since = self.waiting_since.iter();
        since
            .map(|since| since.load(Ordering::Relaxed))
            .filter(|since| *since != 0)
            .min()
    }

    /// Ready when the guest has to end. One task waits for it at a time.
    pub(super) fn poll_ousted(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        match self.ousted.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Drops `guard` when the guest has to end, for guests that no task waits for.
    pub(super) fn frees(&self, guard: impl Send + 'static) {
        *self.held.lock() = Some(Box::new(guard));
    }

    fn oust(&self) {
        self.ousted.store(true, Ordering::Release);
        self.waker.wake();
        let held = self.held.lock().take();
        drop(held);
    }
}

/// A client that sends less in a pause has not gone on.
const PROGRESS_MIN: usize = 1 << 10;

/// A request's body that tells whether its guest waits for it.
pub(super) struct PacedBody {
    inner: WasiBody,
    pace: Arc<Pace>,
    /// Bytes since the guest began to wait.
    progress: usize,
}

impl PacedBody {
    pub(super) fn boxed(inner: WasiBody, pace: Arc<Pace>) -> WasiBody {
        let progress = 0;
        Self {
            inner,
            pace,
            progress,
        }
        .boxed_unsync()
    }

    fn progress(&mut self, frame: Option<&Result<Frame<Bytes>, Error>>) {
        let data = frame.and_then(|frame| frame.as_ref().ok()?.data_ref());
        self.progress += data.map_or(PROGRESS_MIN, Bytes::len);
        if self.progress >= PROGRESS_MIN || self.inner.is_end_stream() {
            self.progress = 0;
            self.pace.goes_on(Side::Sender);
        }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(frame) => self.progress(frame.as_ref()),
            Poll::Pending => self.pace.waits(Side::Sender),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for PacedBody {
    fn drop(&mut self) {
        self.pace.goes_on(Side::Sender);
    }
}

/// The requests of one pod whose guests may wait for clients.
#[derive(Default)]
pub(super) struct Paces(Mutex<Vec<Weak<Pace>>>);

impl Paces {
    /// Of a new request.
    pub(super) fn add(&self) -> Arc<Pace> {
        let pace = Arc::<Pace>::default();
        let mut all = self.0.lock();
        if all.len() == all.capacity() {
            all.retain(|pace| pace.strong_count() > 0);
        }
        all.push(Arc::downgrade(&pace));
        pace
    }

    /// Ends the guest that has waited longest for its client, if one has waited for
    /// long.
    pub(super) fn oust_slowest(&self) {
        let latest = millis(since_origin(Instant::now())).saturating_sub(millis(PAUSE_MAX));
        let slowest = {
            let all = self.0.lock();
            let waiting = all.iter().filter_map(Weak::upgrade).filter_map(|pace| {
                let since = pace.since().filter(|since| *since <= latest)?;
                (!pace.ousted.load(Ordering::Relaxed)).then_some((since, pace))
            });
            waiting.min_by_key(|(since, _)| *since)
        };
        if let Some((_, pace)) = slowest {
            pace.oust();
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
