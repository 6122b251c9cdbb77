//! What an instance keeps from one request to the next.
//!
//! A guest may keep what it needs, such as connections and caches. An instance that grows with
//! every request would reach a limit during a request; it is replaced before that, between two
//! requests.

use wasmtime::{AsContextMut, StoreContextMut};

use super::limits::{HANDLES_MAX, PodMemory};
use super::state::GuestState;

/// How many handles an idle instance may keep. Guests keep a handful; the remaining ones up to
/// [`HANDLES_MAX`] are for the next request.
const KEPT_MAX: usize = 1_000;

/// The same for an instance that serves several requests at once, including the handles of
/// those.
const SHARED_MAX: usize = HANDLES_MAX / 2;

/// The growth of one instance.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Bytes of linear memory after the first request.
    first: Option<u64>,
}

impl Growth {
    /// Whether an instance that serves no request has grown too large to serve another.
    pub(super) fn is_too_much(&mut self, state: &mut GuestState) -> bool {
        let memory = state.limiter.reserved();
        state.table.iter_mut().count() > KEPT_MAX
            || self.memory_is_too_much(memory, state.limiter.pod())
    }

    /// The same while the instance serves other requests.
    pub(super) fn is_too_much_shared(
        &mut self,
        store: &mut StoreContextMut<'_, GuestState>,
    ) -> bool {
        let mut store = store.as_context_mut();
        let tasks = store.concurrent_resource_table();
        let tasks = tasks.map_or(0, |table| table.iter_mut().count());
        let state = store.data_mut();
        let memory = state.limiter.reserved();
        tasks.max(state.table.iter_mut().count()) > SHARED_MAX
            || self.memory_is_too_much(memory, state.limiter.pod())
    }

    /// Its memory has more than doubled, and the pod has less left than it uses.
    fn memory_is_too_much(&mut self, memory: u64, pod: &PodMemory) -> bool {
        let first = *self.first.get_or_insert(memory);
        memory / 2 > first && pod.used() > pod.limit() / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::NodeMemory;

    #[test]
    fn instance_is_replaced_when_its_memory_has_doubled_and_the_pod_runs_short() {
        let pod = PodMemory::new(1_000, 0, &NodeMemory::new(u64::MAX));
        let mut growth = Growth::default();
        pod.reserve(400).expect("there is enough");
        assert!(!growth.memory_is_too_much(100, &pod));
        assert!(!growth.memory_is_too_much(300, &pod), "there is enough");
        pod.reserve(101).expect("there is enough");
        assert!(!growth.memory_is_too_much(200, &pod), "not even doubled");
        assert!(growth.memory_is_too_much(202, &pod));
    }
}
