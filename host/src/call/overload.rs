//! Limits the requests in progress while the host is overloaded.
//!
//! There are two limits, each with a signal of its own (additive increase,
//! multiplicative decrease):
//!
//! - for the requests of all clients together, by the time that work waits for a core.
//!   Their number or latency says nothing: guests that wait for a database or another
//!   service use no core, and there can be thousands of them. The limit falls while
//!   that delay is too long and the host itself uses the cores;
//! - for the requests of one service, by what its pods can accept, as soon as they
//!   have rejected many. A few are rejected at once; rejecting thousands of clients
//!   that retry immediately would cost more than it saves.
//!
//! Requests over a limit wait. Each service has a queue of its own, the queues take
//! turns, and every service keeps a share of the requests in progress: a flood of
//! requests for one service does not delay those for another. A request that has
//! waited too long is refused. When queues are long the newest requests go first,
//! because their clients still wait.
//!
//! Envoy's adaptive concurrency filter measures latency instead. Here that would
//! include what guests wait for, and its measuring windows refuse requests on an idle
//! host. The shortest delay of an interval, as in CoDel, distinguishes a burst from
//! overload.
//!
//! Only requests of clients and of other hosts are limited. A call that a guest makes
//! while it serves a request is part of work that is already admitted; refusing it
//! would waste that work.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use galleria_mesh::LocalReply;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

/// How long work can wait for a core before the host counts as overloaded: two turns
/// of a guest.
const DELAY_TARGET: Duration = Duration::from_millis(10);

/// The share of the machine's CPU time from which the host itself causes a delay. Work
/// is also late on a machine that is busy with other things, where refusing requests
/// would not help.
const BUSY_SHARE: f64 = 0.3;

/// The limits are adapted to the shortest delay of each interval.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often the delay is measured.
const MEASURE_EVERY: Duration = Duration::from_millis(10);

/// Requests that the pods of a service can refuse in one interval before the service is
/// limited: a thousand each second take a few hundredths of a core.
const REFUSED_AT_ONCE_MAX: usize = 100;

/// Requests per core that can always be in progress: some of them wait for something
/// other than a core, and this many short ones take only a few milliseconds.
const LIMIT_PER_CORE_MIN: usize = 32;

/// Requests per core that each service can have in progress regardless of the others.
const SHARE_PER_CORE_MIN: usize = 8;

/// Means no limit: more than the number of connections allows.
const LIMIT_MAX: usize = 100_000;

/// A limit rises by this part of itself in an interval: the limit of all requests, and
/// that of a service, whose pods reject every request too many.
const RISE: usize = 8;
const SERVICE_RISE: usize = 32;

/// How long a request can wait. Most clients would not wait longer; a shorter wait
/// would keep the host busy with refusing clients that retry immediately.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Once the oldest request of a queue has waited this long, not all of them will be
/// served in time, and the newest goes first.
const FIRST_COME_MAX: Duration = Duration::from_millis(500);

/// Requests that can wait for one service: about as many as connections. One takes a
/// few kilobytes.
const WAITING_MAX: usize = 8_192;

/// Decides when requests of clients proceed.
#[derive(Debug)]
pub(crate) struct Overload {
    all: RequestLimit,
    /// Requests that each service can have in progress regardless of the others.
    share: AtomicUsize,
    services: RwLock<BTreeMap<Arc<str>, Arc<Service>>>,
    waiting: AtomicUsize,
    queues: Mutex<Queues>,
    limit_min: usize,
    share_min: usize,
}

/// A number of requests and its limit.
#[derive(Debug)]
struct RequestLimit {
    in_progress: AtomicUsize,
    limit: AtomicUsize,
    /// The highest number since the last decision, or the limit if more were wanted.
    peak: AtomicUsize,
}

/// The requests for one service.
#[derive(Debug, Default)]
struct Service {
    requests: RequestLimit,
    /// Requests that its pods rejected since the last decision.
    refused: AtomicUsize,
}

#[derive(Debug)]
struct Queues {
    /// By service.
    waiting: BTreeMap<Arc<str>, Queue>,
    /// The service that had the last turn.
    last: Arc<str>,
}

#[derive(Debug)]
struct Queue {
    service: Arc<Service>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    admit: oneshot::Sender<OverloadPermit>,
}

/// A request in progress; dropped when its response begins.
#[derive(Debug)]
pub(crate) struct OverloadPermit {
    overload: Arc<Overload>,
    service: Arc<Service>,
}

impl Overload {
    /// Must be called within a runtime, whose delay it measures.
    pub(crate) fn start() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let overload = Self::new(cores * LIMIT_PER_CORE_MIN, cores * SHARE_PER_CORE_MIN);
        let overload = Arc::new(overload);
        tokio::spawn(measure(Arc::downgrade(&overload)));
        overload
    }

    fn new(limit_min: usize, share_min: usize) -> Self {
        Self {
            all: RequestLimit::default(),
            share: AtomicUsize::new(share_min),
            services: RwLock::default(),
            waiting: AtomicUsize::new(0),
            queues: Mutex::new(Queues {
                waiting: BTreeMap::new(),
                last: "".into(),
            }),
            limit_min,
            share_min,
        }
    }

    /// Waits until a request for `service` can proceed.
    ///
    /// # Errors
    /// The reply for a request that has waited too long, or whose queue is full.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        service: &str,
    ) -> Result<OverloadPermit, LocalReply> {
        let (name, service) = self.service(service);
        if self.waiting.load(Relaxed) == 0
            && let Some(admitted) = self.try_admit(&service)
        {
            return Ok(admitted);
        }
        let admitted = self
            .wait(name, service)
            .ok_or_else(LocalReply::overloaded)?;
        match tokio::time::timeout(WAIT_MAX, admitted).await {
            Ok(Ok(admitted)) => Ok(admitted),
            _ => Err(LocalReply::overloaded()),
        }
    }

    fn service(&self, name: &str) -> (Arc<str>, Arc<Service>) {
        if let Some((name, service)) = self.services.read().get_key_value(name) {
            return (name.clone(), service.clone());
        }
        let name: Arc<str> = name.into();
        let mut services = self.services.write();
        let service = services.entry(name.clone()).or_default().clone();
        (name, service)
    }

    fn try_admit(self: &Arc<Self>, service: &Arc<Service>) -> Option<OverloadPermit> {
        let before = service.requests.begin(false)?;
        if self.all.begin(before < self.share.load(Relaxed)).is_none() {
            service.requests.end();
            return None;
        }
        Some(OverloadPermit {
            overload: self.clone(),
            service: service.clone(),
        })
    }

    /// A place in the queue of a service; None if the queue is full.
    fn wait(
        self: &Arc<Self>,
        name: Arc<str>,
        service: Arc<Service>,
    ) -> Option<oneshot::Receiver<OverloadPermit>> {
        let (admit, admitted) = oneshot::channel();
        {
            let mut queues = self.queues.lock();
            let queue = queues.waiting.entry(name).or_insert_with(|| Queue {
                service,
                waiting: VecDeque::new(),
            });
            // Requests whose caller has left are removed at their turn, and here.
            if queue.waiting.len() >= WAITING_MAX {
                queue.waiting.retain(|it| !it.admit.is_closed());
            }
            if queue.waiting.len() >= WAITING_MAX {
                return None;
            }
            queue.waiting.push_back(Waiting {
                since: Instant::now(),
                admit,
            });
            self.count(&queues);
        }
        // Another may have ended before this one was queued.
        self.admit_waiting();
        Some(admitted)
    }

    /// Admits waiting requests in turn, as far as the limits allow.
    fn admit_waiting(self: &Arc<Self>) {
        while self.waiting.load(Relaxed) > 0 {
            let next = {
                let mut queues = self.queues.lock();
                let next = queues.next(Instant::now(), |service| self.try_admit(service));
                self.count(&queues);
                next
            };
            let Some((waiting, admitted)) = next else {
                return;
            };
            // If its caller has left, dropping the admission admits the next.
            drop(waiting.admit.send(admitted));
        }
    }

    fn count(&self, queues: &Queues) {
        let count = queues.waiting.values().map(|it| it.waiting.len()).sum();
        self.waiting.store(count, Relaxed);
    }

    /// Adapts the limits to one interval: its shortest delay, and the share of the
    /// machine's CPU time that the host used.
    fn adapt(self: &Arc<Self>, shortest_delay: Duration, share: f64) {
        let peak = self.all.take_peak();
        let limit = self.all.limit.load(Relaxed);
        let next = if shortest_delay > DELAY_TARGET && share > BUSY_SHARE {
            // The longer the delay, the lower the new limit, but at least half.
            let share = DELAY_TARGET
                .div_duration_f64(shortest_delay)
                .clamp(0.5, 0.9);
            (limit.min(peak) as f64 * share) as usize
        } else {
            risen(limit, peak, RISE)
        };
        let limit = next.clamp(self.limit_min, LIMIT_MAX);
        self.all.limit.store(limit, Relaxed);
        let services = self.adapt_services();
        let share = (limit / services.max(1)).max(self.share_min);
        self.share.store(share, Relaxed);
        self.admit_waiting();
    }

    /// Raises the limits of services whose pods may accept more, and drops services
    /// without requests. Returns how many services are left.
    fn adapt_services(&self) -> usize {
        let mut services = self.services.write();
        services.retain(|_, service| {
            let Service { requests, refused } = &**service;
            let peak = requests.take_peak();
            let limit = requests.limit.load(Relaxed);
            let next = match (refused.swap(0, Relaxed), peak >= limit) {
                (1.., _) => limit,
                (0, true) => risen(limit, peak, SERVICE_RISE),
                (0, false) => LIMIT_MAX,
            };
            requests.limit.store(next, Relaxed);
            Arc::strong_count(service) > 1
        });
        services.len()
    }
}

/// The limit after an interval with this peak.
fn risen(limit: usize, peak: usize, part: usize) -> usize {
    match peak >= limit {
        true => limit + (limit / part).max(1),
        false => limit,
    }
}

impl Default for RequestLimit {
    fn default() -> Self {
        Self {
            in_progress: AtomicUsize::new(0),
            limit: AtomicUsize::new(LIMIT_MAX),
            peak: AtomicUsize::new(0),
        }
    }
}

impl RequestLimit {
    /// Counts one more if it is within the limit, or `anyway`. Returns the number
    /// before.
    fn begin(&self, anyway: bool) -> Option<usize> {
        let limit = match anyway {
            true => usize::MAX,
            false => self.limit.load(Relaxed),
        };
        let begun = self.in_progress.fetch_update(Relaxed, Relaxed, |count| {
            (count < limit).then_some(count + 1)
        });
        let reached = begun.map_or_else(|count| count, |before| before + 1);
        if self.peak.load(Relaxed) < reached {
            self.peak.fetch_max(reached, Relaxed);
        }
        begun.ok()
    }

    fn end(&self) {
        self.in_progress.fetch_sub(1, Relaxed);
    }

    /// The peak until now; starts a new one.
    fn take_peak(&self) -> usize {
        let now = self.in_progress.load(Relaxed);
        self.peak.swap(now, Relaxed).max(now)
    }
}

impl Queues {
    /// The next request that `admit` accepts. Removes requests whose callers have left.
    fn next(
        &mut self,
        now: Instant,
        admit: impl Fn(&Arc<Service>) -> Option<OverloadPermit>,
    ) -> Option<(Waiting, OverloadPermit)> {
        self.waiting.retain(|_, queue| queue.remove_abandoned());
        let after = (Bound::Excluded(self.last.clone()), Bound::Unbounded);
        let up_to = ..=self.last.clone();
        let before = self.waiting.range::<Arc<str>, _>(up_to);
        let mut in_turn = self.waiting.range::<Arc<str>, _>(after).chain(before);
        let (name, admitted) =
            in_turn.find_map(|(name, queue)| Some((name.clone(), admit(&queue.service)?)))?;
        let next = self.waiting.get_mut(&name).and_then(|it| it.next(now));
        self.last = name;
        Some((next?, admitted))
    }
}

impl Queue {
    /// Removes abandoned requests from both ends. Returns whether any are left.
    fn remove_abandoned(&mut self) -> bool {
        let is_abandoned = |it: &Waiting| it.admit.is_closed();
        while self.waiting.front().is_some_and(is_abandoned) {
            self.waiting.pop_front();
        }
        while self.waiting.back().is_some_and(is_abandoned) {
            self.waiting.pop_back();
        }
        !self.waiting.is_empty()
    }

    fn next(&mut self, now: Instant) -> Option<Waiting> {
        let age = now.duration_since(self.waiting.front()?.since);
        match age > FIRST_COME_MAX {
            true => self.waiting.pop_back(),
            false => self.waiting.pop_front(),
        }
    }
}

impl OverloadPermit {
    /// The pods rejected the request. If they have rejected many, this limits the service
    /// to what they can accept, and delays the reply.
    pub(crate) async fn was_refused(self) {
        let Service { requests, refused } = &*self.service;
        let before = refused.fetch_add(1, Relaxed);
        if before < REFUSED_AT_ONCE_MAX && requests.limit.load(Relaxed) == LIMIT_MAX {
            return;
        }
        let others = requests.in_progress.load(Relaxed).saturating_sub(1);
        requests.limit.fetch_min(others.max(1), Relaxed);
        drop(self);
        tokio::time::sleep(WAIT_MAX).await;
    }
}

impl Drop for OverloadPermit {
    fn drop(&mut self) {
        self.service.requests.end();
        self.overload.all.end();
        self.overload.admit_waiting();
    }
}

/// Measures the delay of work.
async fn measure(overload: Weak<Overload>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shortest = Duration::MAX;
    let (mut began, mut used) = (Instant::now(), cpu_time());
    loop {
        let due = Instant::now() + MEASURE_EVERY;
        tokio::time::sleep_until(due.into()).await;
        shortest = shortest.min(delay_since(due).await);
        let now = Instant::now();
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

/// How long after `due` a task runs that is queued behind all others.
///
/// A worker runs the most recently woken or spawned task first, before those in its
/// queue. Spawning a second task moves the first to the end of the queue.
async fn delay_since(due: Instant) -> Duration {
    let behind = tokio::spawn(async move { due.elapsed() });
    let displacing = tokio::spawn(std::future::ready(()));
    let delay = behind.await.unwrap_or_default();
    drop(displacing.await);
    delay
}

/// The CPU time of the process, over all cores.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(50);

    /// With `count` requests in progress, which is the limit; no service has a share.
    async fn busy(count: usize) -> (Arc<Overload>, Vec<OverloadPermit>) {
        let overload = Arc::new(Overload::new(2, 0));
        let mut admitted = Vec::new();
        for _ in 0..count {
            admitted.push(overload.admit("shop").await.expect("room"));
        }
        overload.all.limit.store(count, Relaxed);
        (overload, admitted)
    }

    fn limit(overload: &Overload) -> usize {
        overload.all.limit.load(Relaxed)
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
        assert_eq!(limit(&overload), 2, "the minimum");
        overload.adapt(Duration::ZERO, 0.9);
        assert!(limit(&overload) > 2);
        drop(admitted);
        overload.adapt(Duration::ZERO, 0.9);
        let before = limit(&overload);
        overload.adapt(Duration::ZERO, 0.9);
        assert_eq!(limit(&overload), before, "no more are wanted");
    }

    #[tokio::test]
    async fn host_that_waits_or_whose_machine_is_busy_with_other_work_refuses_nothing() {
        let (overload, _admitted) = busy(100).await;
        overload.adapt(LATE, 0.1);
        overload.adapt(Duration::ZERO, 0.9);
        assert!(limit(&overload) >= 100);
    }

    #[tokio::test(start_paused = true)]
    async fn request_over_the_limit_waits_and_then_is_refused() {
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
    async fn services_take_turns_regardless_of_how_many_requests_wait() {
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
    async fn service_keeps_its_share_under_a_flood_for_another() {
        let overload = Arc::new(Overload::new(2, 2));
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.push(overload.admit("flooded").await.expect("room"));
        }
        for _ in 0..10 {
            overload.adapt(LATE, 0.9);
        }
        assert!(overload.admit("flooded").await.is_err());
        let _one = overload.admit("other").await.expect("its share");
        let _two = overload.admit("other").await.expect("its share");
        assert!(overload.admit("other").await.is_err(), "and no more");
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_requests_take_no_place() {
        let (overload, mut admitted) = busy(1).await;
        for _ in 0..10 {
            let abandoned = overload.admit("shop");
            assert!(
                tokio::time::timeout(Duration::from_millis(1), abandoned)
                    .await
                    .is_err()
            );
        }
        let waiting = overload.admit("shop");
        admitted.pop();
        assert!(waiting.await.is_ok());
        assert_eq!(overload.all.in_progress.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn service_with_full_pods_is_limited_to_what_they_accept() {
        let (overload, mut admitted) = busy(10).await;
        overload.all.limit.store(LIMIT_MAX, Relaxed);
        let limit = |overload: &Arc<Overload>| {
            let (_, service) = overload.service("shop");
            service.requests.limit.load(Relaxed)
        };
        let since = tokio::time::Instant::now();
        for _ in 0..REFUSED_AT_ONCE_MAX {
            let refused = overload.admit("shop").await.expect("room");
            refused.was_refused().await;
        }
        assert_eq!(since.elapsed(), Duration::ZERO, "few are refused");
        assert_eq!(limit(&overload), LIMIT_MAX);

        let refused = overload.admit("shop").await.expect("room");
        refused.was_refused().await;
        assert_eq!(since.elapsed(), WAIT_MAX);
        assert_eq!(limit(&overload), 10);
        assert!(overload.admit("shop").await.is_err(), "the pods are full");
        assert!(overload.admit("other").await.is_ok());
        for _ in 0..2 {
            overload.adapt(Duration::ZERO, 0.9);
        }
        assert_eq!(limit(&overload), 11, "it probes for room");
        admitted.clear();
        for _ in 0..2 {
            overload.adapt(Duration::ZERO, 0.9);
        }
        assert_eq!(limit(&overload), LIMIT_MAX, "nobody waits");
    }

    #[tokio::test]
    async fn services_without_requests_are_forgotten() {
        let (overload, admitted) = busy(1).await;
        overload.adapt(Duration::ZERO, 0.1);
        assert_eq!(overload.services.read().len(), 1);
        drop(admitted);
        overload.adapt(Duration::ZERO, 0.1);
        assert_eq!(overload.services.read().len(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn delay_is_that_of_a_task_behind_all_others() {
        let since = Instant::now();
        let delay = tokio::spawn(async move {
            for _ in 0..20 {
                tokio::spawn(async { std::thread::sleep(Duration::from_millis(5)) });
            }
            delay_since(since).await
        });
        let delay = delay.await.expect("a delay");
        assert!(delay >= Duration::from_millis(90), "{delay:?}");
    }
}
