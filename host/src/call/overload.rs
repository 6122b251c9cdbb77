//! What the host does when more is asked of it than it can do.
//!
//! The signal is the time that work waits for a core, not the number of requests
//! and not their latency: guests that wait for a database or another service use
//! no core, and there may be thousands of them. While that delay is too long and
//! the host itself is what uses the cores, the
//! number of requests of clients that are under way is bounded, and the bound
//! falls until the delay is short again (additive increase, multiplicative
//! decrease). The requests over it wait. Each service has a queue of its own, and
//! the queues take turns, so that a flood of requests for one service does not
//! keep those for another waiting. A request that has waited too long is refused;
//! when queues are long the newest go first, since their clients still wait.
//!
//! Envoy's adaptive concurrency filter measures latency instead. Here that would
//! count what guests wait for, and its measuring windows refuse requests on an
//! idle host. CoDel's measure, the shortest delay of an interval, is what tells a
//! burst from overload.
//!
//! Only requests of clients and of other hosts pass here. What a guest calls while it serves one is part
//! of work that was admitted already, and refusing it would waste that work.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use galleria_mesh::LocalReply;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Work may wait this long for a core before the host counts as overloaded: two
/// turns of a guest.
const DELAY_TARGET: Duration = Duration::from_millis(10);

/// The share of the machine's CPU time that makes a delay the host's own doing. Work
/// is late on a machine that is busy with other things too, and refusing requests
/// would not help.
const BUSY_SHARE: f64 = 0.3;

/// The shortest delay of so much time decides.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often the delay is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(10);

/// Requests per core that may always be under way: some of them wait for something
/// else than a core, and so many short ones still take only some milliseconds.
const LIMIT_PER_CORE_MIN: usize = 32;

/// The bound while the host is not overloaded: more than connections allow.
const LIMIT_MAX: usize = 100_000;

/// How long a request may wait. Longer than most clients are patient would be waste;
/// shorter, and thousands of clients that ask again at once would keep the host busy
/// with refusing them.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Once the oldest request of a queue has waited this long, the newest goes first.
const FIRST_COME_MAX: Duration = Duration::from_millis(100);

/// Requests that may wait for one service: about as many as there may be
/// connections. One takes some kilobytes.
const WAITING_MAX: usize = 8_192;

/// Decides which requests of clients go on.
#[derive(Debug)]
pub(crate) struct Overload {
    under_way: AtomicUsize,
    limit: AtomicUsize,
    /// The most there were since the last decision.
    peak: AtomicUsize,
    waiting: AtomicUsize,
    queues: Mutex<Queues>,
    limit_min: usize,
}

#[derive(Debug, Default)]
struct Queues {
    /// By service.
    waiting: BTreeMap<String, VecDeque<Waiting>>,
    /// Whose turn was last.
    last: String,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    admit: oneshot::Sender<Admitted>,
}

/// A request under way; drop it when its response begins.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Overload>);

impl Overload {
    /// Must be called within a runtime: measures the delay on its threads.
    pub(crate) fn start() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let overload = Arc::new(Self::new(cores * LIMIT_PER_CORE_MIN));
        tokio::spawn(measure(Arc::downgrade(&overload)));
        overload
    }

    fn new(limit_min: usize) -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            limit: AtomicUsize::new(LIMIT_MAX),
            peak: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            queues: Mutex::default(),
            limit_min,
        }
    }

    /// Lets a request for `service` go on, at once or after a time.
    ///
    /// # Errors
    /// The reply for one that has waited too long, or that too many wait before.
    pub(crate) async fn admit(self: &Arc<Self>, service: &str) -> Result<Admitted, LocalReply> {
        if self.waiting.load(Ordering::Relaxed) == 0
            && let Some(admitted) = self.try_admit()
        {
            return Ok(admitted);
        }
        let admitted = self.wait(service).ok_or_else(LocalReply::overloaded)?;
        match tokio::time::timeout(WAIT_MAX, admitted).await {
            Ok(Ok(admitted)) => Ok(admitted),
            _ => Err(LocalReply::overloaded()),
        }
    }

    fn try_admit(self: &Arc<Self>) -> Option<Admitted> {
        let limit = self.limit.load(Ordering::Relaxed);
        let before = self
            .under_way
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < limit).then_some(count + 1)
            });
        let before = before
            .inspect_err(|count| {
                self.peak.fetch_max(*count, Ordering::Relaxed);
            })
            .ok()?;
        if self.peak.load(Ordering::Relaxed) <= before {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        Some(Admitted(self.clone()))
    }

    /// A place in the queue of `service`; none where it is full.
    fn wait(self: &Arc<Self>, service: &str) -> Option<oneshot::Receiver<Admitted>> {
        let (admit, admitted) = oneshot::channel();
        {
            let mut queues = self.queues.lock();
            let queue = queues.waiting.entry(service.to_owned()).or_default();
            // Those that gave up leave when their turn comes; here, when there are many.
            if queue.len() >= WAITING_MAX {
                queue.retain(|waiting| !waiting.admit.is_closed());
            }
            if queue.len() >= WAITING_MAX {
                return None;
            }
            queue.push_back(Waiting {
                since: Instant::now(),
                admit,
            });
            self.count(&queues);
        }
        // One may have ended before this one waited.
        self.admit_waiting();
        Some(admitted)
    }

    /// Admits those whose turn it is, as many as there is room for.
    fn admit_waiting(self: &Arc<Self>) {
        while self.waiting.load(Ordering::Relaxed) > 0 {
            let Some(admitted) = self.try_admit() else {
                return;
            };
            let next = {
                let mut queues = self.queues.lock();
                let next = queues.next(Instant::now());
                self.count(&queues);
                next
            };
            // One that gave up meanwhile drops what it was given, which admits the next.
            if let Some(waiting) = next {
                drop(waiting.admit.send(admitted));
            }
        }
    }

    fn count(&self, queues: &Queues) {
        let count = queues.waiting.values().map(VecDeque::len).sum();
        self.waiting.store(count, Ordering::Relaxed);
    }

    /// Takes what was measured in an interval into account: the shortest delay, and
    /// the share of the machine's CPU time that the host used.
    fn adapt(self: &Arc<Self>, shortest_delay: Duration, share: f64) {
        let now = self.under_way.load(Ordering::Relaxed);
        let peak = self.peak.swap(now, Ordering::Relaxed).max(now);
        let limit = self.limit.load(Ordering::Relaxed);
        let next = if shortest_delay > DELAY_TARGET && share > BUSY_SHARE {
            // The later work is, the more there is too much of; half at once is enough.
            let share = DELAY_TARGET
                .div_duration_f64(shortest_delay)
                .clamp(0.5, 0.9);
            (limit.min(peak) as f64 * share) as usize
        } else if peak >= limit {
            limit + (limit / 8).max(1)
        } else {
            limit
        };
        let next = next.clamp(self.limit_min, LIMIT_MAX);
        self.limit.store(next, Ordering::Relaxed);
        self.admit_waiting();
    }
}

impl Queues {
    /// The request whose turn it is, without those that gave up.
    fn next(&mut self, now: Instant) -> Option<Waiting> {
        loop {
            let after = (
                std::ops::Bound::Excluded(self.last.clone()),
                std::ops::Bound::Unbounded,
            );
            let mut in_turn = self.waiting.range(after).chain(self.waiting.iter());
            let service = in_turn.next()?.0.clone();
            let queue = self.waiting.get_mut(&service)?;
            while queue.front().is_some_and(|it| it.admit.is_closed()) {
                queue.pop_front();
            }
            let oldest = queue.front().map(|it| now.duration_since(it.since));
            let next = match oldest {
                Some(age) if age > FIRST_COME_MAX => queue.pop_back(),
                _ => queue.pop_front(),
            };
            if queue.is_empty() {
                self.waiting.remove(&service);
            }
            self.last = service;
            match next {
                Some(waiting) if waiting.admit.is_closed() => {}
                Some(waiting) => return Some(waiting),
                None => {}
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.admit_waiting();
    }
}

/// Measures how late timers are: what is due runs after what waits already.
async fn measure(overload: Weak<Overload>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shortest = Duration::MAX;
    let (mut began, mut used) = (Instant::now(), cpu_time());
    loop {
        let due = Instant::now() + MEASURE_EVERY;
        tokio::time::sleep_until(due.into()).await;
        let now = Instant::now();
        shortest = shortest.min(now.saturating_duration_since(due));
        let length = now - began;
        if length < INTERVAL {
            continue;
        }
        let Some(overload) = overload.upgrade() else {
            return;
        };
        let used_now = cpu_time();
        let busy = used_now.saturating_sub(used).as_secs_f64();
        overload.adapt(shortest, busy / (length.as_secs_f64() * cores as f64));
        shortest = Duration::MAX;
        (began, used) = (now, used_now);
    }
}

/// Of the process, over all cores.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(50);

    /// With so many requests under way, whose number is the limit.
    async fn busy(count: usize) -> (Arc<Overload>, Vec<Admitted>) {
        let overload = Arc::new(Overload::new(2));
        let mut admitted = Vec::new();
        for _ in 0..count {
            admitted.push(overload.admit("shop").await.expect("room"));
        }
        overload.limit.store(count, Ordering::Relaxed);
        (overload, admitted)
    }

    fn limit(overload: &Overload) -> usize {
        overload.limit.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn limit_falls_while_work_is_late_and_rises_when_it_is_not() {
        let (overload, admitted) = busy(100).await;
        overload.adapt(DELAY_TARGET * 10 / 9, 0.9);
        assert_eq!(limit(&overload), 90);
        overload.adapt(LATE, 0.9);
        assert_eq!(limit(&overload), 45);
        for _ in 0..100 {
            overload.adapt(LATE, 0.9);
        }
        assert_eq!(limit(&overload), 2, "the least");
        overload.adapt(Duration::ZERO, 0.9);
        assert!(limit(&overload) > 2);
        drop(admitted);
        overload.adapt(Duration::ZERO, 0.9);
        let before = limit(&overload);
        overload.adapt(Duration::ZERO, 0.9);
        assert_eq!(limit(&overload), before, "nobody needs more");
    }

    #[tokio::test]
    async fn host_that_waits_or_whose_machine_is_busy_with_other_things_refuses_nobody() {
        let (overload, _admitted) = busy(100).await;
        overload.adapt(LATE, 0.1);
        overload.adapt(Duration::ZERO, 0.9);
        assert!(limit(&overload) >= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn request_over_the_limit_waits_and_is_refused_in_the_end() {
        let (overload, mut admitted) = busy(2).await;
        let refused = overload.admit("shop").await.expect_err("no room");
        assert_eq!(refused.status, 503);
        let retry = refused
            .headers
            .iter()
            .find(|(name, _)| name == "retry-after");
        assert!(retry.is_some());
        let waiting = overload.admit("shop");
        let free = async {
            tokio::time::sleep(WAIT_MAX / 2).await;
            admitted.pop();
        };
        let (waited, ()) = tokio::join!(waiting, free);
        assert!(waited.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn services_take_turns_whoever_has_most_requests() {
        let (overload, mut admitted) = busy(1).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for service in ["flooded", "flooded", "flooded", "flooded", "other"] {
            let (overload, order) = (overload.clone(), order.clone());
            tasks.spawn(async move {
                let admitted = overload.admit(service).await.expect("its turn");
                order.lock().push(service);
                drop(admitted);
            });
            tokio::task::yield_now().await;
        }
        admitted.pop();
        tasks.join_all().await;
        let order = order.lock();
        let other = order.iter().position(|it| *it == "other");
        assert!(other.is_some_and(|at| at <= 1), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_gave_up_take_no_place() {
        let (overload, mut admitted) = busy(1).await;
        for _ in 0..10 {
            let gave_up = overload.admit("shop");
            assert!(
                tokio::time::timeout(Duration::from_millis(1), gave_up)
                    .await
                    .is_err()
            );
        }
        let waiting = overload.admit("shop");
        admitted.pop();
        assert!(waiting.await.is_ok());
        let under_way = overload.under_way.load(Ordering::Relaxed);
        assert_eq!(under_way, 0);
    }
}
