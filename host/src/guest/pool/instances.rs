//! The instances of one pod: the idle ones, and how many may exist.
//!
//! All instances share the memory budget of the pod, and the instance that exceeds it is
//! killed. Therefore the host starts no more instances than fit at their usual size; further
//! requests wait for an existing instance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::wait_or_oust;
use crate::guest::instance::Instance;
use crate::guest::limits::{MemoryLimitReached, PodMemory};
use crate::guest::pace::Paces;
use crate::guest::{Failure, GuestSetup};
use crate::telemetry::metrics::{PodMeters, RetirementReason};

/// The usual size decreases by this fraction with every smaller instance.
const DECAY: u64 = 64;

pub(super) struct Instances {
    idle: Mutex<Idle>,
    population: Arc<Population>,
}

/// Instances without a request. The most recently used one, whose memory is the warmest, is
/// the last.
struct Idle {
    instances: Vec<PooledInstance>,
    /// The lowest number of idle instances since the last trim: that many were not needed.
    unneeded: usize,
    meters: Arc<PodMeters>,
}

/// How many instances exist, and their usual size.
struct Population {
    live: AtomicUsize,
    /// Bytes of linear memory; 0 if unknown.
    usual_size: AtomicU64,
    memory: Arc<PodMemory>,
    /// Notified when an instance becomes idle or ends.
    freed: Notify,
}

/// An instance that is counted as long as it exists.
pub(super) struct PooledInstance {
    pub(super) instance: Box<Instance>,
    /// The current or the last user.
    wanted: For,
    // Dropped after the instance, whose memory is free when a waiting request is notified.
    _life: Life,
}

/// Permission for one instance to exist.
pub(super) struct Life(Arc<Population>);

/// The result of asking for an instance.
pub(super) enum Checkout {
    Idle(PooledInstance),
    /// Permission to start a new one.
    Room(Life),
}

/// The purpose of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::guest) enum For {
    Traffic,
    /// Does not wait for traffic: if memory allows more than one instance, one is reserved.
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

    /// Waits for an idle instance, or for permission to start one.
    ///
    /// # Errors
    /// `Deadline` if neither was available in time.
    pub(super) async fn take(
        &self,
        wanted: For,
        paces: &Paces,
        deadline: Instant,
    ) -> Result<Checkout, Failure> {
        match self.try_take(wanted) {
            Some(checkout) => Ok(checkout),
            // Boxed like what waits for a slot.
            None => Box::pin(self.wait(wanted, paces, deadline)).await,
        }
    }

    async fn wait(
        &self,
        wanted: For,
        paces: &Paces,
        deadline: Instant,
    ) -> Result<Checkout, Failure> {
        loop {
            let mut freed = std::pin::pin!(self.population.freed.notified());
            freed.as_mut().enable();
            if let Some(checkout) = self.try_take(wanted) {
                return Ok(checkout);
            }
            // After a while the usual size may have changed, also without a notification.
            wait_or_oust(freed, paces, deadline).await?;
        }
    }

    /// An idle instance, or permission to start one; `None` if the caller has to wait.
    fn try_take(&self, wanted: For) -> Option<Checkout> {
        let idle = {
            let mut idle = self.idle.lock();
            let instance = idle.instances.pop();
            idle.unneeded = idle.unneeded.min(idle.instances.len());
            instance
        };
        match idle {
            Some(pooled) => Some(Checkout::Idle(PooledInstance { wanted, ..pooled })),
            None => Population::room(&self.population, wanted).map(Checkout::Room),
        }
    }

    /// Records the size of an instance after a request. The size after a probe is only a lower
    /// bound for others.
    pub(super) fn measure(&self, pooled: &PooledInstance) {
        let bytes = pooled.instance.memory();
        match pooled.wanted {
            For::Traffic => self.population.measure(bytes),
            For::Probe => self.population.reaches(bytes),
        }
    }

    /// Records that an instance was killed because the pod's memory was exhausted.
    pub(super) fn outgrown(&self, reached: MemoryLimitReached) {
        if let MemoryLimitReached::Pod { limit } = reached {
            self.population.outgrown(limit);
        }
    }

    /// Keeps an instance for a later request.
    pub(super) fn give_back(&self, instance: PooledInstance) {
        self.idle.lock().instances.push(instance);
        self.population.freed.notify_one();
    }

    /// Drops the instances that have been idle since the last call, except the last one that
    /// has served a request. A pod without requests keeps none.
    pub(super) fn trim(&self) {
        let dropped: Vec<_> = {
            let mut idle = self.idle.lock();
            let last = idle.instances.last();
            let kept = usize::from(last.is_some_and(|it| it.instance.requests > 0));
            let count = idle.unneeded.min(idle.instances.len() - kept);
            let dropped = idle.instances.drain(..count).collect();
            idle.unneeded = idle.instances.len();
            dropped
        };
        let meters = self.idle.lock().meters.clone();
        meters.retired(RetirementReason::Idle, dropped.len());
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.lock().instances.len()
    }
}

impl Population {
    /// Permission for one more instance; `None` if memory is short. One instance is always
    /// allowed.
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

    /// The number of existing instances was too high for `limit`.
    fn outgrown(&self, limit: u64) {
        let live = self.live.load(Ordering::Relaxed) as u64;
        if live > 1 {
            self.reaches(limit / live + 1);
        }
    }
}

impl Life {
    pub(super) fn of(self, instance: Box<Instance>, wanted: For) -> PooledInstance {
        // The instance has not grown yet: its size is only a lower bound.
        self.0.reaches(instance.memory());
        PooledInstance {
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

/// Counts the idle instances of a pool that is replaced, because its environment changed.
impl Drop for Idle {
    fn drop(&mut self) {
        self.meters
            .retired(RetirementReason::Ended, self.instances.len());
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
    fn as_many_instances_exist_as_fit_and_one_is_reserved_for_probes() {
        let population = population(64);
        assert_eq!(
            lives(&population, For::Traffic).len(),
            63,
            "the usual size is unknown"
        );
        population.measure(10);
        let traffic = lives(&population, For::Traffic);
        assert_eq!(traffic.len(), 5);
        assert_eq!(lives(&population, For::Probe).len(), 1);
    }

    #[test]
    fn one_instance_is_always_allowed() {
        let population = population(64);
        population.measure(1_000);
        assert_eq!(lives(&population, For::Traffic).len(), 1);
    }

    #[test]
    fn instances_that_only_started_do_not_reduce_the_usual_size() {
        let population = population(640);
        population.measure(100);
        for _ in 0..300 {
            population.reaches(1);
        }
        assert_eq!(lives(&population, For::Traffic).len(), 5);
    }

    #[test]
    fn out_of_memory_reduces_the_number_of_instances_until_they_are_small_again() {
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
