//! What an instance keeps from one request to the next.
//!
//! A guest may keep what it needs: a connection, a cache. One that keeps a little
//! more with every request would run into a limit in the middle of one; it is
//! replaced before that, between two requests.

use wasmtime::{AsContextMut, StoreContextMut};

use super::limits::{HANDLES_MAX, PodMemory};
use super::state::GuestState;

/// Handles that an instance may keep when it serves nothing. Guests keep a handful;
/// what is left up to [`HANDLES_MAX`] is for the next request.
const KEPT_MAX: usize = 1_000;

/// The same for an instance that serves several requests at once, theirs included.
const SHARED_MAX: usize = HANDLES_MAX / 2;

/// From one request to the next.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// Bytes of linear memory after the first request.
    first: Option<u64>,
}

impl Growth {
    /// Whether an instance that serves nothing now has grown too much to serve again.
    pub(super) fn is_too_much(&mut self, state: &mut GuestState) -> bool {
        let memory = state.limiter.reserved();
        state.table.iter_mut().count() > KEPT_MAX
            || self.memory_is_too_much(memory, state.limiter.pod())
    }

    /// The same in the middle of other requests.
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

    /// More than twice what it was, while the pod has less left than it uses.
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
    fn memory_is_given_back_when_it_has_doubled_and_the_pod_runs_short() {
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
