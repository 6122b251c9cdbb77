//! Memory limits: one budget per pod for all of its instances, within the budget of all pods.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use wasmtime::{ResourceLimiter, Store};

use super::node_memory::NodeMemory;
use super::state::GuestState;

/// The elements of one table; the pooling allocator limits the number of tables. JavaScript
/// engines need about 20,000.
const TABLE_ELEMENTS_MAX: usize = 64 << 10;

/// The handles (requests, streams, files) of one instance. A guest that leaks handles traps
/// before it affects the host.
pub(super) const HANDLES_MAX: usize = 10_000;

/// All handles of one instance, including those between the parts of a component: each of
/// [`HANDLES_MAX`] a second time for the guest's side, and as many of the component's own.
const COMPONENT_HANDLES_MAX: usize = 3 * HANDLES_MAX;

/// Bytes that a guest may pass in one call of the host, which keeps them during the call. The
/// largest are SQL statements with their parameters.
const CALL_BYTES_MAX: usize = 32 << 20;

/// Bytes of randomness in one call.
pub(super) const RANDOM_MAX: u64 = 1 << 20;

/// Bytes of one set of HTTP fields that a guest creates: twice what a listener accepts. They
/// are kept by the host and count as the pod's memory.
pub(super) const FIELDS_BYTES_MAX: usize = 128 << 10;

/// Bytes of a body that a guest may write before they are read. Twice as much can exist: one
/// piece is kept while another is being delivered.
pub(super) const BODY_PIECE_MAX: usize = 64 << 10;

/// Limits what the runtime keeps for an instance.
pub(super) fn bound(store: &mut Store<GuestState>) {
    store.limiter(|state| &mut state.limiter);
    store.set_hostcall_fuel(CALL_BYTES_MAX);
    store.set_max_component_handles(COMPONENT_HANDLES_MAX);
    if let Some(tasks) = store.concurrent_resource_table() {
        tasks.set_max_capacity(COMPONENT_HANDLES_MAX);
    }
}

/// Raised inside a guest that needs more memory than it may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MemoryLimitReached {
    /// `limits.memory`.
    #[error("the pod's memory limit of {limit} bytes was reached")]
    Pod { limit: u64 },
    #[error(
        "the {limit} bytes for guests are exhausted, and the pod uses more than its request of {request} bytes"
    )]
    Node { limit: u64, request: u64 },
}

/// The memory of all instances of one pod (`resources.limits.memory`).
#[derive(Debug)]
pub(crate) struct PodMemory {
    limit: u64,
    /// `resources.requests.memory`: the amount that the pod is guaranteed.
    request: u64,
    used: AtomicU64,
    node: Arc<NodeMemory>,
    /// Set from an eviction until the next start of the pod.
    leaving: AtomicBool,
    evicted: Notify,
}

impl PodMemory {
    pub(crate) fn new(limit: u64, request: u64, node: &Arc<NodeMemory>) -> Arc<Self> {
        let pod = Arc::new(Self {
            limit,
            request,
            used: AtomicU64::new(0),
            node: node.clone(),
            leaving: AtomicBool::new(false),
            evicted: Notify::new(),
        });
        node.admit(&pod);
        pod
    }

    /// Waits until the running pod must be evicted so that others get the memory that they
    /// requested. Returns the kubelet's message.
    pub(crate) async fn until_evicted(&self) -> String {
        let evicted = self.evicted.notified();
        self.leaving.store(false, Ordering::Relaxed);
        evicted.await;
        format!(
            "the node was low on resource: memory; the pod was using {} bytes, its request is {} bytes",
            self.used(),
            self.request
        )
    }

    pub(super) fn evict(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.evicted.notify_waiters();
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    pub(super) fn over_request(&self) -> u64 {
        self.used().saturating_sub(self.request)
    }

    /// Bytes of linear memory in use.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(super) fn reserve(&self, bytes: u64) -> Result<(), MemoryLimitReached> {
        let used = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|total| *total <= self.limit)
            })
            .map_err(|_| MemoryLimitReached::Pod { limit: self.limit })?;
        if self.node.take(bytes, used + bytes <= self.request) {
            return Ok(());
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        Err(MemoryLimitReached::Node {
            limit: self.node.limit(),
            request: self.request,
        })
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.node.give_back(bytes);
    }
}

/// One instance's share of its pod's budget, released when it is dropped.
pub(super) struct InstanceLimiter {
    pod: Arc<PodMemory>,
    reserved: u64,
    /// Bytes in addition to its linear memory, on the side of the host.
    held: u64,
}

impl InstanceLimiter {
    pub(super) fn new(pod: Arc<PodMemory>) -> Self {
        Self {
            pod,
            reserved: 0,
            held: 0,
        }
    }

    pub(super) fn pod(&self) -> &PodMemory {
        &self.pod
    }

    /// Bytes of the instance's linear memory.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Sets the number of bytes that the host keeps for the instance.
    ///
    /// # Errors
    /// It exceeds the memory of the pod.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<(), MemoryLimitReached> {
        match bytes.checked_sub(self.held) {
            Some(more) => self.pod.reserve(more)?,
            None => self.pod.release(self.held - bytes),
        }
        self.held = bytes;
        Ok(())
    }
}

impl Drop for InstanceLimiter {
    fn drop(&mut self) {
        self.pod.release(self.reserved + self.held);
    }
}

impl ResourceLimiter for InstanceLimiter {
    /// A guest over the limit is killed, as a container is: one that gets an error may
    /// continue in a broken state.
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Exceeds the module's own maximum, so the pod's memory is not affected.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let grown = desired.saturating_sub(current) as u64;
        self.pod.reserve(grown)?;
        self.reserved += grown;
        Ok(true)
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

#[cfg(test)]
mod tests {
    use wasmtime::{Engine, Instance, Module};

    use super::*;

    /// A module with a memory and a table. Its functions `memory` and `table` grow them, and
    /// return the result of `*.grow`.
    const GROWS: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x06\x01\x60\x01\x7f\x01\x7f\
        \x03\x03\x02\x00\x00\
        \x04\x04\x01\x70\x00\x01\
        \x05\x03\x01\x00\x01\
        \x07\x12\x02\x06memory\x00\x00\x05table\x00\x01\
        \x0a\x12\x02\x06\x00\x20\x00\x40\x00\x0b\x09\x00\xd0\x70\x20\x00\xfc\x0f\x00\x0b";

    /// An instance of [`GROWS`], and a function that calls it.
    fn instance(memory: &Arc<PodMemory>) -> impl FnMut(&str, i32) -> wasmtime::Result<i32> {
        let engine = Engine::default();
        let module = Module::new(&engine, GROWS).expect("a module");
        let mut store = Store::new(&engine, InstanceLimiter::new(memory.clone()));
        store.limiter(|limiter| limiter);
        let instance = Instance::new(&mut store, &module, &[]).expect("an instance");
        move |name, by| {
            let grow = instance.get_typed_func::<i32, i32>(&mut store, name)?;
            grow.call(&mut store, by)
        }
    }

    const PAGE: u64 = 64 << 10;

    fn pod() -> Arc<PodMemory> {
        PodMemory::new(16 * PAGE, 0, &NodeMemory::new(u64::MAX))
    }

    #[test]
    fn instances_share_one_budget_and_the_one_that_exceeds_it_is_killed() {
        let pod = pod();
        let mut first = instance(&pod);
        let mut second = instance(&pod);
        assert_eq!(pod.used(), 2 * PAGE, "what they begin with counts");
        assert_eq!(first("memory", 8).expect("grown"), 1);
        assert_eq!(second("memory", 5).expect("grown"), 1);
        let killed = second("memory", 2).expect_err("over the limit together");
        assert!(killed.downcast_ref::<MemoryLimitReached>().is_some());
        assert_eq!(first("memory", 1).expect("grown"), 9, "the other goes on");
        drop(first);
        assert_eq!(pod.used(), 6 * PAGE, "an instance gives back what it had");
        assert_eq!(second("memory", 10).expect("grown"), 6);
    }

    #[test]
    fn growth_beyond_the_modules_own_maximum_uses_no_budget() {
        let pod = pod();
        let mut limiter = InstanceLimiter::new(pod.clone());
        let grown = limiter.memory_growing(0, 3 << 16, Some(2 << 16));
        assert!(!grown.expect("no kill"));
        assert_eq!(pod.used(), 0);
    }

    #[test]
    fn table_cannot_exceed_its_limit() {
        let pod = pod();
        let mut guest = instance(&pod);
        assert_eq!(guest("table", 100).expect("grown"), 1);
        let much = i32::try_from(TABLE_ELEMENTS_MAX).expect("small");
        assert_eq!(guest("table", much).expect("an answer"), -1, "not grown");
        assert_eq!(guest("table", 100).expect("grown"), 101);
    }
}
