//! What the host does when more is asked of it than it can do.
//!
//! Two numbers of requests are bounded, each by a signal of its own (additive
//! increase, multiplicative decrease):
//!
//! - those of all clients together, by the time that work waits for a core. Neither
//!   their number nor their latency would do: guests that wait for a database or
//!   another service use no core, and there may be thousands of them. The bound falls
//!   while that delay is too long and the host itself is what uses the cores;
//! - those for one service, by what its pods have room for, from the moment that they
//!   had none for many. A few are refused at once; refusing thousands of clients that
//!   ask again at once would cost more than it saves.
//!
//! Requests over a bound wait. Each service has a queue of its own, the queues take
//! turns, and every service may have a share under way whatever the others do: a
//! flood of requests for one service does not keep those for another waiting. A
//! request that has waited too long is refused; when queues are long the newest go
//! first, since their clients still wait.
//!
//! Envoy's adaptive concurrency filter measures latency instead. Here that would
//! count what guests wait for, and its measuring windows refuse requests on an
//! idle host. CoDel's measure, the shortest delay of an interval, is what tells a
//! burst from overload.
//!
//! Only requests of clients and of other hosts pass here. What a guest calls while
//! it serves one is part of work that was admitted already, and refusing it would
//! waste that work.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use galleria_mesh::LocalReply;
use parking_lot::{Mutex, RwLock};
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

/// Requests of one interval that the pods of a service may refuse before they are
/// bounded: a thousand each second take some hundredths of a core.
const REFUSED_AT_ONCE_MAX: usize = 100;

/// Requests per core that may always be under way: some of them wait for something
/// else than a core, and so many short ones still take only some milliseconds.
const LIMIT_PER_CORE_MIN: usize = 32;

/// Requests per core that each service may have under way whatever the others do.
const SHARE_PER_CORE_MIN: usize = 8;

/// Stands for no bound: more than the number of connections allows.
const LIMIT_MAX: usize = 100_000;

/// By which part of itself a bound rises in an interval: that of all requests, and
/// that of a service, where each one too many is refused.
const RISE: usize = 8;
const SERVICE_RISE: usize = 32;

/// How long a request may wait. Longer than most clients are patient would be waste;
/// shorter, and thousands of clients that ask again at once would keep the host busy
/// with refusing them.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Once the oldest request of a queue has waited this long, not all of them will be
/// served in time, and the newest goes first.
const FIRST_COME_MAX: Duration = Duration::from_millis(500);

/// Requests that may wait for one service: about as many as there may be
/// connections. One takes some kilobytes.
const WAITING_MAX: usize = 8_192;

/// Decides which requests of clients go on.
#[derive(Debug)]
pub(crate) struct Overload {
    all: Bounded,
    /// Requests that each service may have under way whatever the others do.
    share: AtomicUsize,
    services: RwLock<BTreeMap<Arc<str>, Arc<Service>>>,
    waiting: AtomicUsize,
    queues: Mutex<Queues>,
    limit_min: usize,
    share_min: usize,
}

/// A bounded number of requests.
#[derive(Debug)]
struct Bounded {
    under_way: AtomicUsize,
    limit: AtomicUsize,
    /// The most there were since the last decision, or the limit where more were wanted.
    peak: AtomicUsize,
}

/// The requests for one service.
#[derive(Debug, Default)]
struct Service {
    requests: Bounded,
    /// Those that its pods had no room for since the last decision.
    refused: AtomicUsize,
}

#[derive(Debug)]
struct Queues {
    /// By service.
    waiting: BTreeMap<Arc<str>, Queue>,
    /// Whose turn was last.
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
    admit: oneshot::Sender<Admitted>,
}

/// A request under way; drop it when its response begins.
#[derive(Debug)]
pub(crate) struct Admitted {
    overload: Arc<Overload>,
    service: Arc<Service>,
}

impl Overload {
    /// Must be called within a runtime: measures the delay on its threads.
    pub(crate) fn start() -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let overload = Self::new(cores * LIMIT_PER_CORE_MIN, cores * SHARE_PER_CORE_MIN);
        let overload = Arc::new(overload);
        tokio::spawn(measure(Arc::downgrade(&overload)));
        overload
    }

    fn new(limit_min: usize, share_min: usize) -> Self {
        Self {
            all: Bounded::default(),
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

    /// Lets a request for `service` go on, at once or after a time.
    ///
    /// # Errors
    /// The reply for one that has waited too long, or that too many wait before.
    pub(crate) async fn admit(self: &Arc<Self>, service: &str) -> Result<Admitted, LocalReply> {
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

    fn try_admit(self: &Arc<Self>, service: &Arc<Service>) -> Option<Admitted> {
        let before = service.requests.begin(false)?;
        if self.all.begin(before < self.share.load(Relaxed)).is_none() {
            service.requests.end();
            return None;
        }
        Some(Admitted {
            overload: self.clone(),
            service: service.clone(),
        })
    }

    /// A place in the queue of a service; none where it is full.
    fn wait(
        self: &Arc<Self>,
        name: Arc<str>,
        service: Arc<Service>,
    ) -> Option<oneshot::Receiver<Admitted>> {
        let (admit, admitted) = oneshot::channel();
        {
            let mut queues = self.queues.lock();
            let queue = queues.waiting.entry(name).or_insert_with(|| Queue {
                service,
                waiting: VecDeque::new(),
            });
            // Those that gave up leave when their turn comes; here, when there are many.
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
        // One may have ended before this one waited.
        self.admit_waiting();
        Some(admitted)
    }

    /// Admits those whose turn it is, as many as there is room for.
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
            // One that gave up meanwhile drops what it was given, which admits the next.
            drop(waiting.admit.send(admitted));
        }
    }

    fn count(&self, queues: &Queues) {
        let count = queues.waiting.values().map(|it| it.waiting.len()).sum();
        self.waiting.store(count, Relaxed);
    }

    /// Takes what was measured in an interval into account: the shortest delay, and
    /// the share of the machine's CPU time that the host used.
    fn adapt(self: &Arc<Self>, shortest_delay: Duration, share: f64) {
        let peak = self.all.take_peak();
        let limit = self.all.limit.load(Relaxed);
        let next = if shortest_delay > DELAY_TARGET && share > BUSY_SHARE {
            // The later work is, the more there is too much of; half at once is enough.
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

    /// Raises the bounds of services whose pods may have more room, and drops services
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

/// The limit after an interval in which so many were wanted at most.
fn risen(limit: usize, peak: usize, part: usize) -> usize {
    match peak >= limit {
        true => limit + (limit / part).max(1),
        false => limit,
    }
}

impl Default for Bounded {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            limit: AtomicUsize::new(LIMIT_MAX),
            peak: AtomicUsize::new(0),
        }
    }
}

impl Bounded {
    /// Counts one more, where the limit or else `anyway` allows it; returns how many
    /// there were before.
    fn begin(&self, anyway: bool) -> Option<usize> {
        let limit = match anyway {
            true => usize::MAX,
            false => self.limit.load(Relaxed),
        };
        let begun = self.under_way.fetch_update(Relaxed, Relaxed, |count| {
            (count < limit).then_some(count + 1)
        });
        let reached = begun.map_or_else(|count| count, |before| before + 1);
        if self.peak.load(Relaxed) < reached {
            self.peak.fetch_max(reached, Relaxed);
        }
        begun.ok()
    }

    fn end(&self) {
        self.under_way.fetch_sub(1, Relaxed);
    }

    /// The peak until now; from now on it is another's.
    fn take_peak(&self) -> usize {
        let now = self.under_way.load(Relaxed);
        self.peak.swap(now, Relaxed).max(now)
    }
}

impl Queues {
    /// The request whose turn it is of those that `admit` lets in, without those that
    /// gave up.
    fn next(
        &mut self,
        now: Instant,
        admit: impl Fn(&Arc<Service>) -> Option<Admitted>,
    ) -> Option<(Waiting, Admitted)> {
        self.waiting
            .retain(|_, queue| queue.drop_those_that_gave_up());
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
    /// Of both ends; returns whether any are left.
    fn drop_those_that_gave_up(&mut self) -> bool {
        let gave_up = |it: &Waiting| it.admit.is_closed();
        while self.waiting.front().is_some_and(gave_up) {
            self.waiting.pop_front();
        }
        while self.waiting.back().is_some_and(gave_up) {
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

impl Admitted {
    /// The pods had no room for it. Where that befell many others too, it waits before
    /// its client hears of it, and no more are let in than the pods have room for.
    pub(crate) async fn was_refused(self) {
        let Service { requests, refused } = &*self.service;
        let before = refused.fetch_add(1, Relaxed);
        if before < REFUSED_AT_ONCE_MAX && requests.limit.load(Relaxed) == LIMIT_MAX {
            return;
        }
        let others = requests.under_way.load(Relaxed).saturating_sub(1);
        requests.limit.fetch_min(others.max(1), Relaxed);
        drop(self);
        tokio::time::sleep(WAIT_MAX).await;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.service.requests.end();
        self.overload.all.end();
        self.overload.admit_waiting();
    }
}

/// Measures how late work is.
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

/// How long after `due` a task runs that waits behind all others.
///
/// A worker runs what a timer or the last spawn woke next of all, before what waits
/// already: a second task that is spawned behind sends the first to the queue's end.
async fn delay_since(due: Instant) -> Duration {
    let behind = tokio::spawn(async move { due.elapsed() });
    let displacing = tokio::spawn(std::future::ready(()));
    let delay = behind.await.unwrap_or_default();
    drop(displacing.await);
    delay
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

    /// With so many requests under way, whose number is the limit; no service has a
    /// share.
    async fn busy(count: usize) -> (Arc<Overload>, Vec<Admitted>) {
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
    async fn service_has_its_share_however_many_others_are_under_way() {
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
        assert_eq!(overload.all.under_way.load(Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn full_pods_are_asked_for_no_more_than_they_have_room_for() {
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
        assert_eq!(since.elapsed(), Duration::ZERO, "they are few");
        assert_eq!(limit(&overload), LIMIT_MAX);

        let refused = overload.admit("shop").await.expect("room");
        refused.was_refused().await;
        assert_eq!(since.elapsed(), WAIT_MAX);
        assert_eq!(limit(&overload), 10);
        assert!(overload.admit("shop").await.is_err(), "they are full");
        assert!(overload.admit("other").await.is_ok());
        for _ in 0..2 {
            overload.adapt(Duration::ZERO, 0.9);
        }
        assert_eq!(limit(&overload), 11, "it tries whether there is room");
        admitted.clear();
        for _ in 0..2 {
            overload.adapt(Duration::ZERO, 0.9);
        }
        assert_eq!(limit(&overload), LIMIT_MAX, "nobody waits");
    }

    #[tokio::test]
    async fn services_that_nobody_asks_are_forgotten() {
        let (overload, admitted) = busy(1).await;
        overload.adapt(Duration::ZERO, 0.1);
        assert_eq!(overload.services.read().len(), 1);
        drop(admitted);
        overload.adapt(Duration::ZERO, 0.1);
        assert_eq!(overload.services.read().len(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn delay_is_that_of_what_waits_behind_all_others() {
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
