//! The instances of one pod: those without a request, and how many may live.
//!
//! A pod's memory is one budget over its instances, and the instance that goes
//! over it is killed. So no more are started than would fit if each grew as
//! large as they usually do; a request waits for one of those that live instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::guest::instance::Instance;
use crate::guest::limits::{MemoryLimitReached, PodMemory};
use crate::guest::pace::{OUST_EVERY, Paces};
use crate::guest::{Failure, GuestSetup};
use crate::telemetry::metrics::{PodMeters, Retired};

/// By which part of itself the usual size falls with every smaller instance.
const DECAY: u64 = 64;

pub(super) struct Instances {
    idle: Mutex<Idle>,
    population: Arc<Population>,
}

/// Instances without a request, the most recently used last, since its memory
/// is the warmest.
struct Idle {
    instances: Vec<Pooled>,
    /// The fewest there were since the last trim: so many were not needed.
    unneeded: usize,
    meters: Arc<PodMeters>,
}

/// How many live, and how large they get.
struct Population {
    live: AtomicUsize,
    /// Bytes of linear memory; 0 while none is known.
    usual_size: AtomicU64,
    memory: Arc<PodMemory>,
    /// Notified when an instance becomes idle or ends.
    freed: Notify,
}

/// An instance that counts as living for as long as it does.
pub(super) struct Pooled {
    pub(super) instance: Box<Instance>,
    /// Who has it, or had it last.
    wanted: For,
    // After the instance: its memory is free when others learn of its end.
    _life: Life,
}

/// Room for one instance.
pub(super) struct Life(Arc<Population>);

/// What a request gets.
pub(super) enum Taken {
    Idle(Pooled),
    /// Room to start one.
    Room(Life),
}

/// Who wants an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Traffic,
    /// Where memory allows more than one instance, one is for probes.
    Probe,
}

impl Instances {
    pub(super) fn new(setup: &GuestSetup) -> Self {
        Self {
            idle: Mutex::new(Idle {
                instances: Vec::new(),
                unneeded: 0,
                meters: setup.meters.clone(),
            }),
            population: Arc::new(Population {
                live: AtomicUsize::new(0),
                usual_size: AtomicU64::new(0),
                memory: setup.memory.clone(),
                freed: Notify::new(),
            }),
        }
    }

    /// An idle instance, or room for another, after waiting for one of both.
    ///
    /// # Errors
    /// `Deadline`, where neither was there in time.
    pub(super) async fn take(
        &self,
        wanted: For,
        paces: &Paces,
        deadline: Instant,
    ) -> Result<Taken, Failure> {
        loop {
            if let Some(taken) = self.try_take(wanted) {
                return Ok(taken);
            }
            let mut freed = std::pin::pin!(self.population.freed.notified());
            freed.as_mut().enable();
            if let Some(taken) = self.try_take(wanted) {
                return Ok(taken);
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Failure::Deadline);
            }
            let next = deadline.min(now + OUST_EVERY);
            if timeout_at(next.into(), freed).await.is_err() {
                paces.oust_slowest();
            }
        }
    }

    fn try_take(&self, wanted: For) -> Option<Taken> {
        let idle = {
            let mut idle = self.idle.lock();
            let instance = idle.instances.pop();
            idle.unneeded = idle.unneeded.min(idle.instances.len());
            instance
        };
        match idle {
            Some(pooled) => Some(Taken::Idle(Pooled { wanted, ..pooled })),
            None => Population::room(&self.population, wanted).map(Taken::Room),
        }
    }

    /// Notes how large an instance has become by a request. A probe says nothing of
    /// how large others get.
    pub(super) fn measure(&self, pooled: &Pooled) {
        let bytes = pooled.instance.memory();
        match pooled.wanted {
            For::Traffic => self.population.measure(bytes),
            For::Probe => self.population.reaches(bytes),
        }
    }

    /// Notes that an instance was killed because the pod's memory was used up.
    pub(super) fn outgrown(&self, reached: MemoryLimitReached) {
        if let MemoryLimitReached::Pod { limit } = reached {
            self.population.outgrown(limit);
        }
    }

    /// Keeps an instance for the next request.
    pub(super) fn give_back(&self, instance: Pooled) {
        self.idle.lock().instances.push(instance);
        self.population.freed.notify_one();
    }

    /// Drops the idle instances that were idle ever since the last call, but one.
    pub(super) fn trim(&self) {
        let dropped: Vec<_> = {
            let mut idle = self.idle.lock();
            let count = idle.unneeded.min(idle.instances.len().saturating_sub(1));
            let dropped = idle.instances.drain(..count).collect();
            idle.unneeded = idle.instances.len();
            dropped
        };
        let meters = self.idle.lock().meters.clone();
        meters.retired(Retired::Idle, dropped.len());
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.lock().instances.len()
    }
}

impl Population {
    /// Room for one more; none where memory is short. There is always room for one.
    fn room(population: &Arc<Self>, wanted: For) -> Option<Life> {
        let usual = population.usual_size.load(Ordering::Relaxed).max(1);
        let fit = usize::try_from(population.memory.limit() / usual).unwrap_or(usize::MAX);
        let max = match wanted {
            For::Probe => fit,
            For::Traffic => fit.saturating_sub(1),
        };
        population
            .live
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
                (live < max.max(1)).then_some(live + 1)
            })
            .ok()?;
        Some(Life(population.clone()))
    }

    fn measure(&self, bytes: u64) {
        let usual = self.usual_size.load(Ordering::Relaxed);
        let next = bytes.max(usual - usual / DECAY);
        if next != usual {
            self.usual_size.store(next, Ordering::Relaxed);
        }
    }

    fn reaches(&self, bytes: u64) {
        self.usual_size.fetch_max(bytes, Ordering::Relaxed);
    }

    /// So many were too many.
    fn outgrown(&self, limit: u64) {
        let live = self.live.load(Ordering::Relaxed) as u64;
        if live > 1 {
            self.reaches(limit / live + 1);
        }
    }
}

impl Life {
    pub(super) fn of(self, instance: Box<Instance>, wanted: For) -> Pooled {
        // It has not grown yet: its size is only a lower bound.
        self.0.reaches(instance.memory());
        Pooled {
            instance,
            wanted,
            _life: self,
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::Relaxed);
        self.0.freed.notify_one();
    }
}

/// Counts what goes with a pool whose environment is no longer that of the pod.
impl Drop for Idle {
    fn drop(&mut self) {
        self.meters.retired(Retired::Ended, self.instances.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::NodeMemory;

    fn population(limit: u64) -> Arc<Population> {
        Arc::new(Population {
            live: AtomicUsize::new(0),
            usual_size: AtomicU64::new(0),
            memory: PodMemory::new(limit, 0, &NodeMemory::new(u64::MAX)),
            freed: Notify::new(),
        })
    }

    fn lives(population: &Arc<Population>, wanted: For) -> Vec<Life> {
        std::iter::from_fn(|| Population::room(population, wanted))
            .take(100)
            .collect()
    }

    #[test]
    fn so_many_live_as_fit_with_one_for_probes() {
        let population = population(64);
        assert_eq!(
            lives(&population, For::Traffic).len(),
            63,
            "nothing is known"
        );
        population.measure(10);
        let traffic = lives(&population, For::Traffic);
        assert_eq!(traffic.len(), 5);
        assert_eq!(lives(&population, For::Probe).len(), 1);
    }

    #[test]
    fn there_is_room_for_one_however_large_it_is() {
        let population = population(64);
        population.measure(1_000);
        assert_eq!(lives(&population, For::Traffic).len(), 1);
    }

    #[test]
    fn those_that_only_start_or_are_probed_are_not_taken_for_small() {
        let population = population(640);
        population.measure(100);
        for _ in 0..300 {
            population.reaches(1);
        }
        assert_eq!(lives(&population, For::Traffic).len(), 5);
    }

    #[test]
    fn kill_for_memory_lets_fewer_live_until_they_are_seen_to_be_small() {
        let population = population(6_400);
        population.measure(100);
        let live = lives(&population, For::Traffic);
        assert_eq!(live.len(), 63);
        population.outgrown(6_400);
        drop(live);
        assert_eq!(lives(&population, For::Traffic).len(), 61);
        let few = lives(&population, For::Traffic).into_iter().take(2);
        let few: Vec<_> = few.collect();
        population.outgrown(6_400);
        drop(few);
        assert_eq!(lives(&population, For::Traffic).len(), 1);
        for _ in 0..300 {
            population.measure(100);
        }
        assert_eq!(lives(&population, For::Traffic).len(), 63);
    }
}
