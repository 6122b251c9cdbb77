//! Memory limits: one budget per pod, over all of its instances.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

/// Elements of all tables of one instance. JavaScript engines need some 20,000.
const TABLE_ELEMENTS_MAX: usize = 64 << 10;

/// Handles (requests, streams, files) that one instance may hold. A guest that
/// leaks handles traps here, long before the host feels it.
pub(super) const HANDLES_MAX: usize = 10_000;

/// Raised inside a guest that would push its pod over `limits.memory`.
#[derive(Debug, thiserror::Error)]
#[error("the pod's memory limit of {limit} bytes was reached")]
pub(crate) struct MemoryLimitReached {
    limit: u64,
}

/// The memory of one pod's instances together (`resources.limits.memory`).
#[derive(Debug)]
pub(crate) struct PodMemory {
    limit: u64,
    used: AtomicU64,
}

impl PodMemory {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicU64::new(0),
        })
    }

    /// Bytes of linear memory in use now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    fn reserve(&self, bytes: u64) -> bool {
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= self.limit)
            })
            .is_ok()
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One instance's share of its pod's budget; given back when it is dropped.
pub(super) struct InstanceLimiter {
    pod: Arc<PodMemory>,
    reserved: u64,
}

impl InstanceLimiter {
    pub(super) fn new(pod: Arc<PodMemory>) -> Self {
        Self { pod, reserved: 0 }
    }
}

impl Drop for InstanceLimiter {
    fn drop(&mut self) {
        self.pod.release(self.reserved);
    }
}

impl ResourceLimiter for InstanceLimiter {
    /// Over the limit the guest is killed rather than told: a container would
    /// be, and a guest that is told may limp on without what it needs.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current) as u64;
        if self.pod.reserve(grown) {
            self.reserved += grown;
            return Ok(true);
        }
        Err(MemoryLimitReached {
            limit: self.pod.limit,
        }
        .into())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
