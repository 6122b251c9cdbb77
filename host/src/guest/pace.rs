//! Guests that wait for their clients, and what happens when another request needs
//! their instance.
//!
//! A client that sends or reads slowly keeps a guest waiting, and with it an instance.
//! That is fine while there are enough instances. When a request waits for one, the
//! guest that has waited longest for its client is terminated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::Frame;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use wasmtime_wasi_http::{Error, WasiBody};

use super::deadline::since_origin;
use crate::body::{End, Watch, Watcher};

/// Even a client on a slow line pauses for less.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a request that waits for an instance looks for one to take over.
pub(super) const OUST_EVERY: Duration = Duration::from_millis(100);

/// An extension of a request whose client sends its body slowly: it keeps its instance
/// only while no other request needs it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LateBody;

/// What a guest waits for its client to do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// Send the rest of the request.
    Sender,
    /// Read more of the response.
    Reader,
}

/// Whether the guest of one request waits for its client.
#[derive(Default)]
pub(super) struct Pace {
    /// By [`Side`]: since when, in milliseconds of [`since_origin`] plus one; 0 if the
    /// guest does not wait.
    waiting_since: [AtomicU64; 2],
    ousted: AtomicBool,
    waker: AtomicWaker,
    /// Dropped when the guest is ousted.
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

    /// The guest will wait for its client from the start, and counts as waiting for long.
    pub(super) fn is_late(&self) {
        self.waiting(Side::Sender).store(1, Ordering::Relaxed);
    }

    /// The guest no longer waits.
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

    /// Since when, on either side; None if the guest does not wait.
    fn since(&self) -> Option<u64> {
        let since = self.waiting_since.iter();
        since
            .map(|since| since.load(Ordering::Relaxed))
            .filter(|since| *since != 0)
            .min()
    }

    /// Ready when the guest has to end. Only one task can wait for it at a time.
    pub(super) fn poll_ousted(&self, context: &Context<'_>) -> Poll<()> {
        self.waker.register(context.waker());
        match self.ousted.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }

    /// Drops `guard` when the guest has to end, for guests without a task that waits.
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

/// A client that sends less in a pause has made no progress.
const PROGRESS_MIN: usize = 1 << 10;

/// Tells a [`Pace`] whether its guest waits for the rest of its request.
struct SenderWatch {
    pace: Arc<Pace>,
    /// Bytes since the guest began to wait.
    progress: usize,
}

/// `body` of a request, whose reader is the guest of `pace`.
pub(super) fn watch_sender(body: WasiBody, pace: Arc<Pace>) -> WasiBody {
    let watch = SenderWatch { pace, progress: 0 };
    Watch::new(body, watch).boxed_unsync()
}

impl Watcher for SenderWatch {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        self.progress += frame.data_ref().map_or(PROGRESS_MIN, Bytes::len);
        if self.progress >= PROGRESS_MIN {
            self.progress = 0;
            self.pace.goes_on(Side::Sender);
        }
    }

    fn pending(&mut self, _context: &mut Context<'_>) -> Poll<Error> {
        self.pace.waits(Side::Sender);
        Poll::Pending
    }

    fn end(&mut self, _end: End) {
        self.pace.goes_on(Side::Sender);
    }
}

/// The requests of one pod whose guests can wait for clients.
#[derive(Default)]
pub(super) struct Paces(Mutex<Vec<Weak<Pace>>>);

impl Paces {
    /// For a new request.
    pub(super) fn add(&self) -> Arc<Pace> {
        let pace = Arc::<Pace>::default();
        let mut all = self.0.lock();
        if all.len() == all.capacity() {
            all.retain(|pace| pace.strong_count() > 0);
        }
        all.push(Arc::downgrade(&pace));
        pace
    }

    /// Ousts the guest that has waited longest for its client, if any has waited longer
    /// than a pause.
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
