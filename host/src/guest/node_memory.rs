//! The memory of all pods together, and which pod is evicted when it runs short.
//!
//! A tenth is reserved for pods that use no more than their `requests.memory`: a pod above its
//! request that would use the reserve is killed. When the reserve is in use, the pod that
//! exceeds its request the most is evicted, in the order of the kubelet; a BestEffort pod
//! exceeds its request with its first byte. Guests are therefore terminated before the kernel
//! has to choose a process, and pods within their requests last.

use std::cmp::Reverse;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::limits::PodMemory;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct NodeMemory {
    limit: u64,
    used: AtomicU64,
    pods: Mutex<Vec<Weak<PodMemory>>>,
}

impl NodeMemory {
    /// `limit` is in bytes of linear memory, over all instances.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
            pods: Mutex::default(),
        })
    }

    /// Bytes of linear memory, over all instances.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The part of the limit that all pods may use.
    fn shared(&self) -> u64 {
        self.limit - self.limit / 10
    }

    /// Adds a pod to those that can be evicted, while it exists.
    pub(super) fn admit(&self, pod: &Arc<PodMemory>) {
        let mut pods = self.pods.lock();
        pods.retain(|pod| pod.strong_count() > 0);
        pods.push(Arc::downgrade(pod));
    }

    /// Allocates `bytes` for a pod, which stays within its request or not. Returns false if
    /// they are not available.
    pub(super) fn take(&self, bytes: u64, is_within_request: bool) -> bool {
        let limit = if is_within_request {
            let wanted = self.used.load(Ordering::Relaxed).saturating_add(bytes);
            // Memory that is about to be released can be used already.
            let leaving = self.relieve(wanted.saturating_sub(self.shared()));
            self.limit.saturating_add(leaving)
        } else {
            self.shared()
        };
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= limit)
            })
            .is_ok()
    }

    pub(super) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Evicts pods above their requests until they release at least `excess`. Returns how much
    /// they release.
    fn relieve(&self, excess: u64) -> u64 {
        if excess == 0 {
            return 0;
        }
        let pods = self.pods.lock();
        let mut over: Vec<_> = pods
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|pod| pod.over_request() > 0)
            .collect();
        over.sort_by_key(|pod| (!pod.is_leaving(), Reverse(pod.over_request())));
        let mut leaving = 0_u64;
        for pod in over {
            if !pod.is_leaving() {
                if leaving >= excess {
                    break;
                }
                pod.evict();
            }
            leaving = leaving.saturating_add(pod.used());
        }
        leaving
    }
}

/// The default for the memory of all guests: nine tenths of the memory of the machine or of
/// its control group. `u64::MAX` if neither is known.
pub(crate) fn guest_memory_default() -> u64 {
    let group = fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    // `max`, which means no limit, does not parse.
    let group = group.and_then(|text| text.trim().parse::<u64>().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok();
    let machine = machine.and_then(|text| mem_total(&text));
    let memory = group.into_iter().chain(machine).min();
    memory.map_or(u64::MAX, |memory| memory / 10 * 9)
}

fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|it| it.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pod(node: &Arc<NodeMemory>, request: u64) -> Arc<PodMemory> {
        PodMemory::new(1_000 * MIB, request * MIB, node)
    }

    #[test]
    fn last_tenth_is_reserved_for_pods_within_their_requests() {
        let node = NodeMemory::new(100 * MIB);
        let (best_effort, guaranteed) = (pod(&node, 0), pod(&node, 20));
        assert!(best_effort.reserve(90 * MIB).is_ok());
        assert!(best_effort.reserve(1).is_err(), "the tenth is not for it");
        assert!(!best_effort.is_leaving(), "it ends by itself");
        assert!(guaranteed.reserve(20 * MIB).is_ok());
        assert!(best_effort.is_leaving());
        assert!(guaranteed.reserve(1).is_err(), "over its request");
        assert_eq!(guaranteed.used(), 20 * MIB, "what failed counts nowhere");
        best_effort.release(90 * MIB);
        assert!(guaranteed.reserve(70 * MIB).is_ok());
        assert!(guaranteed.reserve(1).is_err());
    }

    #[test]
    fn pod_that_exceeds_its_request_the_most_is_evicted_first() {
        let node = NodeMemory::new(100 * MIB);
        let pods = [pod(&node, 0), pod(&node, 30), pod(&node, 40)];
        let used = [20, 60, 10].map(|used| used * MIB);
        for (pod, used) in pods.iter().zip(used) {
            assert!(pod.reserve(used).is_ok());
        }
        assert!(pods[2].reserve(5 * MIB).is_ok());
        let leaving: Vec<_> = pods.iter().map(|pod| pod.is_leaving()).collect();
        assert_eq!(leaving, [false, true, false]);
        assert!(pods[2].reserve(5 * MIB).is_ok());
        assert!(!pods[0].is_leaving(), "who leaves already is enough");
    }

    #[test]
    fn memory_of_the_machine_is_parsed() {
        let meminfo = "MemTotal:        8000000 kB\nMemFree:          700000 kB\n";
        assert_eq!(mem_total(meminfo), Some(8_000_000 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB"), None);
        assert!(guest_memory_default() > MIB);
    }

    #[test]
    fn pods_within_their_requests_are_never_evicted() {
        let node = NodeMemory::new(100 * MIB);
        let pods = [pod(&node, 80), pod(&node, 80)];
        assert!(pods[0].reserve(80 * MIB).is_ok());
        assert!(pods[1].reserve(20 * MIB).is_ok());
        assert!(pods[1].reserve(1).is_err());
        assert!(pods.iter().all(|pod| !pod.is_leaving()));
    }
}
