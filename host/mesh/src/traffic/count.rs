//! The counters of each caller's calls to each cluster, for metrics.
//!
//! Counters are part of the state: they continue with a new snapshot, and end with the
//! cluster.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::admit::Limits;
use super::state::{ClientState, State};
use crate::{CallerKey, Cluster, Ejection};

/// The reasons of ejections, in Envoy's terms.
pub(crate) const CONSECUTIVE_5XX: &str = "consecutive_5xx";
pub(crate) const CONSECUTIVE_GATEWAY_FAILURE: &str = "consecutive_gateway_failure";

/// The counters of one caller for one cluster.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) retries: AtomicU64,
    pub(crate) overflows: AtomicU64,
    ejections_5xx: AtomicU64,
    ejections_gateway: AtomicU64,
    delays: AtomicU64,
    aborts: AtomicU64,
    mirrors_sent: AtomicU64,
    mirrors_dropped: AtomicU64,
}

/// The parts of the cluster's policy that decide which counters are reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) limits: Limits,
    pub(crate) ejects: bool,
}

/// The counters of one caller and one cluster at one point in time. They never decrease.
#[derive(Debug, Clone)]
pub struct ClientReport {
    /// The namespace and name of the workload; `None` is the edge.
    pub caller: Option<(String, String)>,
    /// Envoy's name of the cluster.
    pub cluster: String,
    pub retries: u64,
    /// Requests and retries that `connectionPool` refused.
    pub overflows: u64,
    /// By Envoy's reason.
    pub ejections: [(&'static str, u64); 2],
    pub delays: u64,
    pub aborts: u64,
    pub mirrors_sent: u64,
    pub mirrors_dropped: u64,
    /// `None` if `connectionPool` sets no limits.
    pub breaker: Option<Breaker>,
    /// The number of ejected endpoints; `None` without `outlierDetection`.
    pub ejected: Option<usize>,
}

/// The requests that a `connectionPool` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    pub active: u32,
    pub pending: usize,
    /// The next request would be refused.
    pub is_open: bool,
}

impl Counts {
    pub(crate) fn ejected(&self, ejection: &Ejection) {
        let count = match ejection.reason {
            CONSECUTIVE_5XX => &self.ejections_5xx,
            _ => &self.ejections_gateway,
        };
        count.fetch_add(1, Relaxed);
    }
}

impl Cluster {
    /// Counts the parts of an injected fault.
    pub(crate) fn count_fault(&self, caller: CallerKey, delays: bool, aborts: bool) {
        if !delays && !aborts {
            return;
        }
        let counts = &self.client(caller).memory.counts;
        counts.delays.fetch_add(u64::from(delays), Relaxed);
        counts.aborts.fetch_add(u64::from(aborts), Relaxed);
    }

    /// Counts a mirrored request, which was sent or dropped.
    pub fn count_mirror(&self, caller: CallerKey, sent: bool) {
        let counts = &self.client(caller).memory.counts;
        let count = match sent {
            true => &counts.mirrors_sent,
            false => &counts.mirrors_dropped,
        };
        count.fetch_add(1, Relaxed);
    }
}

impl State {
    /// The counters of every caller for every cluster that it has called.
    pub fn report(&self, now: Instant) -> Vec<ClientReport> {
        let now = self.nanos(now);
        let callers = self.caller_names();
        let clients = self.clients();
        let report = clients.into_iter().map(|(cluster, caller, client)| {
            let caller = callers.get(&caller).cloned();
            client.report(caller, cluster, now)
        });
        report.collect()
    }
}

impl ClientState {
    fn report(&self, caller: Option<(String, String)>, cluster: String, now: u64) -> ClientReport {
        let shape = *self.shape.lock();
        let counts = &self.counts;
        let limits = shape.map(|shape| shape.limits);
        let breaker = limits.filter(Limits::are_some).map(|limits| {
            let (active, pending) = self.gate.occupancy();
            Breaker {
                active,
                pending,
                is_open: limits.are_reached(active, pending),
            }
        });
        ClientReport {
            caller,
            cluster,
            retries: counts.retries.load(Relaxed),
            overflows: counts.overflows.load(Relaxed),
            ejections: [
                (CONSECUTIVE_5XX, counts.ejections_5xx.load(Relaxed)),
                (
                    CONSECUTIVE_GATEWAY_FAILURE,
                    counts.ejections_gateway.load(Relaxed),
                ),
            ],
            delays: counts.delays.load(Relaxed),
            aborts: counts.aborts.load(Relaxed),
            mirrors_sent: counts.mirrors_sent.load(Relaxed),
            mirrors_dropped: counts.mirrors_dropped.load(Relaxed),
            breaker,
            ejected: shape
                .filter(|shape| shape.ejects)
                .map(|_| self.ejected(now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Workload;
    use crate::traffic::admit::{acquire, acquire_retry};

    fn report(state: &State) -> ClientReport {
        let mut report = state.report(Instant::now());
        assert_eq!(report.len(), 1);
        report.remove(0)
    }

    #[test]
    fn a_breaker_is_open_if_it_would_refuse_a_request() {
        let state = State::new(Instant::now());
        let client = state.client(CallerKey::EDGE, "cluster");
        let limits = Limits {
            requests: Some(1),
            ..Limits::NONE
        };
        *client.shape.lock() = Some(Shape {
            limits,
            ejects: false,
        });
        let breaker = |active, is_open| {
            Some(Breaker {
                active,
                pending: 0,
                is_open,
            })
        };
        assert_eq!(report(&state).breaker, breaker(0, false));
        let admitted = acquire(&client, &limits).expect("not full");
        assert_eq!(report(&state).breaker, breaker(1, true));
        assert!(acquire(&client, &limits).is_err());
        drop(admitted);
        let after = report(&state);
        assert_eq!((after.breaker, after.overflows), (breaker(0, false), 1));
    }

    #[test]
    fn a_retry_is_counted_once_and_a_refused_retry_as_an_overflow() {
        let state = State::new(Instant::now());
        let client = state.client(CallerKey::EDGE, "cluster");
        let limits = Limits {
            retries: Some(1),
            ..Limits::NONE
        };
        let _first = acquire_retry(&client, &limits);
        assert!(acquire_retry(&client, &limits).is_none());
        let reported = report(&state);
        assert_eq!((reported.retries, reported.overflows), (1, 1));
        assert_eq!((reported.breaker, reported.ejected), (None, None));
    }

    #[test]
    fn the_state_of_removed_callers_is_dropped_but_not_that_of_the_edge() {
        let state = State::new(Instant::now());
        let ui = state.caller(&Workload::new("shop", "ui", "default", Default::default()));
        state.client(ui, "cluster");
        state.client(CallerKey::EDGE, "cluster");
        let names = |state: &State| {
            let report = state.report(Instant::now()).into_iter();
            let mut names: Vec<_> = report.map(|it| it.caller).collect();
            names.sort();
            names
        };
        let ui = ("shop".to_owned(), "ui".to_owned());
        assert_eq!(names(&state), [None, Some(ui)]);
        state.retain_callers(|_, _| false);
        assert_eq!(names(&state), [None]);
    }
}
