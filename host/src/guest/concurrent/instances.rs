//! The instances of one pod: those that accept requests, and how many may exist.
//!
//! A request goes to the first instance that accepts one now. If there is none, another one
//! starts, because an instance can compute or block for long. But as many instances as there
//! are cores may be in the middle of a run, which takes microseconds, or starting: then the
//! request waits for one of these. So there are as many instances as threads under load.

use std::num::NonZero;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::available_parallelism;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::shared::{Availability, Claim, SharedInstance};
use crate::guest::Failure;
use crate::guest::pool::For;

pub(super) struct Instances {
    /// Those that may accept requests, in the order of their start.
    all: Mutex<Vec<Arc<SharedInstance>>>,
    /// Those that count towards the limit. One that accepts no more requests does not.
    places: AtomicUsize,
    places_max: usize,
    starting: AtomicUsize,
    cores: usize,
    pub(super) existing: AtomicUsize,
    /// Those with requests in progress.
    pub(super) busy: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    closed: AtomicBool,
}

/// Permission for one instance to exist.
pub(super) struct Place {
    instances: Arc<Instances>,
    starting: bool,
}

/// The result of asking for an instance.
pub(super) enum Checkout {
    Open(Claim),
    /// Permission to start one.
    Room(Place),
}

impl Instances {
    pub(super) fn new(max: usize) -> Self {
        Self {
            all: Mutex::default(),
            places: AtomicUsize::new(0),
            places_max: max,
            starting: AtomicUsize::new(0),
            cores: available_parallelism().map_or(1, NonZero::get),
            existing: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Waits for an instance that accepts a request, or for permission to start one. Requests
    /// that wait are first.
    ///
    /// # Errors
    /// `Deadline` if neither was available in time.
    pub(super) async fn take(
        self: &Arc<Self>,
        wanted: For,
        deadline: Instant,
    ) -> Result<Checkout, Failure> {
        if (wanted == For::Probe || self.waiting() == 0)
            && let Some(checkout) = self.try_take(wanted)
        {
            return Ok(checkout);
        }
        let waiting = Waiting::enter(&self.waiting);
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(checkout) = self.try_take(wanted) {
                drop(waiting);
                if let Checkout::Room(_) = checkout {
                    // The next request does not have to wait for this start.
                    self.freed();
                }
                return Ok(checkout);
            }
            let freed = timeout_at(deadline.into(), freed).await;
            freed.map_err(|_| Failure::Deadline)?;
        }
    }

    fn try_take(self: &Arc<Self>, wanted: For) -> Option<Checkout> {
        let mut coming = self.starting.load(SeqCst);
        for instance in self.all.lock().iter() {
            match instance.availability() {
                Availability::Open(claim) => return Some(Checkout::Open(claim)),
                Availability::Running => coming += 1,
                Availability::Closed => {}
            }
        }
        if wanted == For::Traffic && coming >= self.cores {
            return None;
        }
        self.room(wanted).map(Checkout::Room)
    }

    fn room(self: &Arc<Self>, wanted: For) -> Option<Place> {
        let max = match wanted {
            For::Traffic => self.places_max,
            For::Probe => usize::MAX,
        };
        self.places
            .fetch_update(SeqCst, SeqCst, |count| (count < max).then(|| count + 1))
            .ok()?;
        self.starting.fetch_add(1, SeqCst);
        Some(Place {
            instances: self.clone(),
            starting: true,
        })
    }

    /// Offers an instance to other requests.
    pub(super) fn add(&self, instance: &Arc<SharedInstance>) {
        self.all.lock().push(instance.clone());
        if self.closed.load(SeqCst) {
            instance.retire();
        }
    }

    pub(super) fn remove(&self, instance: &SharedInstance) {
        self.all
            .lock()
            .retain(|it| !std::ptr::eq(&raw const **it, instance));
    }

    /// Called when an instance accepts requests again, accepts no more, or has ended.
    pub(super) fn freed(&self) {
        if self.waiting() > 0 {
            self.freed.notify_one();
        }
    }

    /// All instances finish their requests and end.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
        let all = std::mem::take(&mut *self.all.lock());
        for instance in all {
            instance.retire();
        }
    }

    /// How many requests wait for an instance.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }
}

impl Place {
    /// The instance has started.
    pub(super) fn started(&mut self) {
        if std::mem::replace(&mut self.starting, false) {
            self.instances.starting.fetch_sub(1, SeqCst);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.started();
        self.instances.places.fetch_sub(1, SeqCst);
        self.instances.freed();
    }
}

/// Counts a request that waits.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
