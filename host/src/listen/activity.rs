//! The activity of one connection, which determines when it is closed: whether a request is in
//! progress, and how long the connection has been idle.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::settings::listen::ClientTimeouts;
use crate::telemetry::metrics::CloseReason;

/// Stands for "not since" in an integer that stores a time.
const NEVER: u64 = u64::MAX;

/// Shared by the task of a connection, its stream, its requests and the room.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    in_flight: AtomicU32,
    has_asked: AtomicBool,
    /// When the latest request ended, in milliseconds after `opened`.
    idle_since: AtomicU64,
    /// When bytes arrived while no request was in progress, which begins the next head.
    head_since: AtomicU64,
    /// The client is asked to use another connection for its next request.
    closing: AtomicBool,
    leaving: AtomicBool,
    evicted: Notify,
}

/// A request in progress, until its response has been delivered or dropped.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

/// The HTTP version. The versions differ in how long a connection may be idle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            in_flight: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(NEVER),
            closing: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            evicted: Notify::new(),
        }
    }

    /// The head of a request is complete.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        self.has_asked.store(true, Relaxed);
        self.head_since.store(NEVER, Relaxed);
        InFlight(self.clone())
    }

    /// The connection was upgraded: it is busy until it is closed.
    pub(super) fn upgraded(&self) {
        self.in_flight.fetch_add(1, Relaxed);
    }

    /// Bytes have arrived.
    pub(super) fn received(&self) {
        if self.is_idle() && self.head_since.load(Relaxed) == NEVER {
            self.head_since.store(self.now(), Relaxed);
        }
    }

    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.load(Relaxed) == 0
    }

    pub(super) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// How long the connection has been idle. None while a request is in progress.
    pub(super) fn silence(&self) -> Option<Duration> {
        let is_silent = self.is_idle() && !self.leaving.load(Relaxed);
        is_silent.then(|| self.at(self.idle_since.load(Relaxed)).elapsed())
    }

    /// Asks the task of the connection to close it, unless a request arrives first.
    pub(super) fn evict(&self) {
        self.leaving.store(true, Relaxed);
        self.evicted.notify_one();
    }

    /// Whether the connection was asked to close and is about to.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed) && self.is_idle()
    }

    /// Ready when the connection was asked to close and no request is in progress.
    pub(super) async fn evicted(&self) {
        loop {
            self.evicted.notified().await;
            if self.is_idle() {
                return;
            }
            self.leaving.store(false, Relaxed);
        }
    }

    /// From now on, every response announces that the connection closes.
    pub(super) fn close(&self) {
        self.closing.store(true, Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    /// When the connection will have been idle for too long, and the reason for closing it
    /// then. None while a request is in progress.
    pub(super) fn deadline(
        &self,
        version: Version,
        timeouts: &ClientTimeouts,
    ) -> Option<(Instant, CloseReason)> {
        if !self.is_idle() {
            return None;
        }
        if !self.has_asked.load(Relaxed) {
            return Some((self.opened + timeouts.head, CloseReason::Head));
        }
        let idle = self.at(self.idle_since.load(Relaxed)) + timeouts.idle;
        // On HTTP/2 the bytes may be anything, so they do not extend the time.
        match self.head_since.load(Relaxed) {
            since if since != NEVER && version == Version::Http1 => {
                Some((self.at(since) + timeouts.head, CloseReason::Head))
            }
            _ => Some((idle, CloseReason::Idle)),
        }
    }

    /// When a connection that stops at `stopped` has had its time for one more request. None
    /// while a request is in progress.
    pub(super) fn last_request(&self, stopped: Instant, grace: Duration) -> Option<Instant> {
        let idle_since = self.at(self.idle_since.load(Relaxed));
        self.is_idle().then(|| stopped.max(idle_since) + grace)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.opened + Duration::from_millis(milliseconds)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let activity = &self.0;
        activity.idle_since.store(activity.now(), Relaxed);
        activity.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: ClientTimeouts = ClientTimeouts {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(60),
        body: Duration::from_secs(10),
        grpc: Duration::from_secs(60),
        stall: Duration::from_secs(30),
    };

    fn left(activity: &Activity, version: Version) -> Option<(u64, CloseReason)> {
        let (deadline, reason) = activity.deadline(version, &TIMEOUTS)?;
        Some(((deadline - Instant::now()).as_secs(), reason))
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn time_for_the_first_head_begins_with_the_connection() {
        let activity = Activity::new();
        pass(4).await;
        activity.received();
        for version in [Version::Http1, Version::Http2] {
            assert_eq!(left(&activity, version), Some((6, CloseReason::Head)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_no_deadline_while_a_request_is_in_progress() {
        let activity = Arc::new(Activity::new());
        let request = activity.begin();
        pass(1_000).await;
        assert_eq!(left(&activity, Version::Http1), None);
        assert_eq!(activity.silence(), None);
        drop(request);
        assert_eq!(
            left(&activity, Version::Http1),
            Some((60, CloseReason::Idle))
        );
        pass(5).await;
        assert_eq!(activity.silence(), Some(Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn time_for_a_later_head_begins_with_its_first_byte_on_http1_only() {
        let activity = Arc::new(Activity::new());
        drop(activity.begin());
        pass(30).await;
        activity.received();
        pass(1).await;
        activity.received();
        assert_eq!(
            left(&activity, Version::Http1),
            Some((9, CloseReason::Head))
        );
        assert_eq!(
            left(&activity, Version::Http2),
            Some((29, CloseReason::Idle))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn eviction_does_not_end_a_request() {
        let activity = Arc::new(Activity::new());
        let request = activity.begin();
        activity.evict();
        let evicted = activity.evicted();
        tokio::pin!(evicted);
        let soon = Duration::from_millis(10);
        assert!(tokio::time::timeout(soon, evicted.as_mut()).await.is_err());
        drop(request);
        activity.evict();
        evicted.await;
    }
}
