//! State that outlives snapshots: counters, limits, breakers and ejections.
//!
//! State is kept per caller (a workload or the edge) and cluster, and within a cluster by
//! the stable names of endpoints, so a new snapshot continues with the state of the
//! previous one. The state of a cluster is removed with the cluster; requests in progress
//! keep their part alive until they end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize};
use std::time::Instant;

use parking_lot::Mutex;

use super::admit::Gate;
use super::count::{Counts, Shape};
use crate::rate_limit::LocalLimits;
use crate::{CallerKey, Workload};

/// The state of all callers and clusters. A host has one, and passes it to every
/// [`crate::compile()`].
#[derive(Debug)]
pub struct State {
    start: Instant,
    callers: Mutex<HashMap<String, HashMap<String, CallerKey>>>,
    clients: Mutex<HashMap<String, HashMap<CallerKey, Arc<ClientState>>>>,
    /// With the buckets of local rate limits.
    limits: LocalLimits,
}

/// The state of one caller for one cluster.
#[derive(Debug, Default)]
pub(crate) struct ClientState {
    pub(crate) gate: Gate,
    pub(crate) counts: Counts,
    /// The policy of the latest snapshot that was used.
    pub(crate) shape: Mutex<Option<Shape>>,
    /// Retries in progress.
    pub(crate) retries: AtomicU32,
    /// The next turn of round robin.
    pub(crate) turn: AtomicUsize,
    /// Held while an ejection or a turn of weighted round robin is decided.
    pub(crate) deciding: Mutex<()>,
    endpoints: Mutex<HashMap<String, Arc<EndpointState>>>,
}

/// The state of one caller for one endpoint. Times are nanoseconds since [`State::new`]; 0
/// means never.
#[derive(Debug, Default)]
pub(crate) struct EndpointState {
    pub(crate) active: AtomicU32,
    pub(crate) consecutive_5xx: AtomicU32,
    pub(crate) consecutive_gateway_errors: AtomicU32,
    pub(crate) ejected_until: AtomicU64,
    /// The multiplier of the next ejection, minus one.
    pub(crate) ejections: AtomicU32,
    pub(crate) returned_at: AtomicU64,
    /// Since when it is ready, for warm-up.
    pub(crate) ready_since: AtomicU64,
    /// The credit of smooth weighted round robin.
    pub(crate) credit: AtomicI64,
}

impl State {
    /// `start` is the start of this host.
    pub fn new(start: Instant) -> Arc<Self> {
        Arc::new(Self {
            start,
            callers: Mutex::default(),
            clients: Mutex::default(),
            limits: LocalLimits::default(),
        })
    }

    pub(crate) fn limits(&self) -> &LocalLimits {
        &self.limits
    }

    /// The key of a workload. It stays the same for the life of the host.
    pub(crate) fn caller(&self, workload: &Workload) -> CallerKey {
        let mut callers = self.callers.lock();
        if let Some(key) = callers
            .get(&workload.namespace)
            .and_then(|names| names.get(&workload.name))
        {
            return *key;
        }
        let known: usize = callers.values().map(HashMap::len).sum();
        let key = CallerKey(
            u32::try_from(known)
                .unwrap_or(u32::MAX - 1)
                .saturating_add(1),
        );
        let names = callers.entry(workload.namespace.clone()).or_default();
        names.insert(workload.name.clone(), key);
        key
    }

    /// The number of keys, including the edge's.
    pub(crate) fn callers_known(&self) -> usize {
        1 + self
            .callers
            .lock()
            .values()
            .map(HashMap::len)
            .sum::<usize>()
    }

    pub(crate) fn client(&self, caller: CallerKey, cluster: &str) -> Arc<ClientState> {
        let mut clients = self.clients.lock();
        if let Some(client) = clients
            .get(cluster)
            .and_then(|callers| callers.get(&caller))
        {
            return Arc::clone(client);
        }
        let callers = clients.entry(cluster.to_owned()).or_default();
        Arc::clone(callers.entry(caller).or_default())
    }

    /// The namespace and name of every caller except the edge.
    pub(crate) fn caller_names(&self) -> HashMap<CallerKey, (String, String)> {
        let callers = self.callers.lock();
        let named = callers.iter().flat_map(|(namespace, names)| {
            let of =
                move |(name, key): (&String, &CallerKey)| (*key, (namespace.clone(), name.clone()));
            names.iter().map(of)
        });
        named.collect()
    }

    /// The state of every cluster and caller.
    pub(crate) fn clients(&self) -> Vec<(String, CallerKey, Arc<ClientState>)> {
        let clients = self.clients.lock();
        let remembered = clients.iter().flat_map(|(cluster, callers)| {
            let of = move |(caller, client): (&CallerKey, &Arc<ClientState>)| {
                (cluster.clone(), *caller, Arc::clone(client))
            };
            callers.iter().map(of)
        });
        remembered.collect()
    }

    /// Removes the state of every cluster that is not in `clusters`.
    pub(crate) fn retain(&self, clusters: &HashSet<&str>) {
        self.clients
            .lock()
            .retain(|name, _| clusters.contains(name.as_str()));
    }

    /// Removes the state of callers that no longer exist, except the edge.
    pub fn retain_callers(&self, is_present: impl Fn(&str, &str) -> bool) {
        let names = self.caller_names();
        let kept = |caller: &CallerKey| {
            let name = names.get(caller);
            name.is_none_or(|(namespace, name)| is_present(namespace, name))
        };
        for callers in self.clients.lock().values_mut() {
            callers.retain(|caller, _| kept(caller));
        }
    }

    /// Nanoseconds since the start, counted from 1, because 0 means never.
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl ClientState {
    /// The states of these endpoints, in the same order. States of other endpoints that are
    /// no longer in use are dropped.
    pub(crate) fn endpoints<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
    ) -> Box<[Arc<EndpointState>]> {
        let mut known = self.endpoints.lock();
        let states: Box<[_]> = names
            .map(|name| match known.get(name) {
                Some(state) => Arc::clone(state),
                None => Arc::clone(known.entry(name.to_owned()).or_default()),
            })
            .collect();
        known.retain(|_, state| Arc::strong_count(state) > 1);
        states
    }
}

impl ClientState {
    /// The number of endpoints in use that are ejected at `now`.
    pub(crate) fn ejected(&self, now: u64) -> usize {
        let known = self.endpoints.lock();
        let present = known.values().filter(|it| Arc::strong_count(it) > 1);
        present.filter(|state| state.is_ejected(now)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(namespace: &str, name: &str) -> Workload {
        Workload::new(namespace, name, "default", Default::default())
    }

    #[test]
    fn a_workload_keeps_its_key_and_the_edge_has_its_own() {
        let state = State::new(Instant::now());
        let ui = state.caller(&workload("shop", "ui"));
        let product = state.caller(&workload("shop", "product"));
        assert_ne!(ui, product);
        assert_ne!(ui, CallerKey::EDGE);
        assert_eq!(ui, state.caller(&workload("shop", "ui")));
    }

    #[test]
    fn the_state_of_a_removed_cluster_is_dropped_and_that_of_others_kept() {
        let state = State::new(Instant::now());
        let kept = state.client(CallerKey::EDGE, "kept");
        let gone = state.client(CallerKey::EDGE, "gone");
        state.retain(&HashSet::from(["kept"]));
        assert!(Arc::ptr_eq(&kept, &state.client(CallerKey::EDGE, "kept")));
        assert!(!Arc::ptr_eq(&gone, &state.client(CallerKey::EDGE, "gone")));
    }
}
