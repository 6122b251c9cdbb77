//! Outlier detection: ejects endpoints that fail, for a limited time
//! (`trafficPolicy.outlierDetection`).
//!
//! It works as Envoy's outlier detector does. An endpoint is ejected on its n-th
//! consecutive failure. The duration is the base time, multiplied by the number of recent
//! ejections, and rounded up to the next tick of the interval. At most `maxEjectionPercent`
//! of the ready endpoints are ejected, which can be none if there are few endpoints.
//!
//! There is no background task: the end of an ejection is known when it starts.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Duration;

use galleria_manifest::model::OutlierDetection;

use super::cluster::Endpoint;
use super::count::{CONSECUTIVE_5XX, CONSECUTIVE_GATEWAY_FAILURE};
use super::state::{ClientState, EndpointState};
use crate::Outcome;

/// Envoy's `max_ejection_time`. A longer base time replaces it.
const EJECTION_TIME_MAX: Duration = Duration::from_secs(300);

/// The ejection of an endpoint because of its failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    pub endpoint: String,
    /// `consecutive_5xx` or `consecutive_gateway_failure`.
    pub reason: &'static str,
    /// The time until it is available again.
    pub duration: Duration,
    /// The number of recent ejections, including this one.
    pub times: u32,
}

/// The endpoints of a cluster, and their states in the same order.
pub(crate) struct Ring<'a> {
    pub(crate) endpoints: &'a [std::sync::Arc<Endpoint>],
    pub(crate) client: &'a ClientState,
    pub(crate) states: &'a [std::sync::Arc<EndpointState>],
}

impl EndpointState {
    /// Whether it is ejected at `now`.
    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        self.ejected_until.load(Acquire) > now
    }

    /// Clears an ejection that is over, and the failures that led to it.
    fn settle(&self, now: u64) {
        let until = self.ejected_until.load(Acquire);
        let over = until != 0 && until <= now;
        if over
            && self
                .ejected_until
                .compare_exchange(until, 0, AcqRel, Acquire)
                .is_ok()
        {
            self.consecutive_5xx.store(0, Relaxed);
            self.consecutive_gateway_errors.store(0, Relaxed);
            self.returned_at.store(until, Release);
        }
    }

    /// The multiplier of the next ejection: one more than the last multiplier, minus one
    /// for every interval since the last ejection ended.
    fn next_multiplier(&self, now: u64, interval: u64) -> u32 {
        let back_for = now.saturating_sub(self.returned_at.load(Acquire));
        let healthy_intervals = u32::try_from(back_for / interval.max(1)).unwrap_or(u32::MAX);
        self.ejections
            .load(Acquire)
            .saturating_sub(healthy_intervals)
            .saturating_add(1)
    }
}

/// Counts the outcome of an attempt at the endpoint with this index.
pub(crate) fn record(
    detection: &OutlierDetection,
    ring: &Ring<'_>,
    index: usize,
    outcome: &Outcome,
    now: u64,
) -> Option<Ejection> {
    let (endpoint, state) = (ring.endpoints.get(index)?, ring.states.get(index)?);
    let status = outcome.effective_status()?;
    state.settle(now);
    if !(500..600).contains(&status) {
        state.consecutive_5xx.store(0, Relaxed);
        state.consecutive_gateway_errors.store(0, Relaxed);
        return None;
    }
    let errors = state.consecutive_5xx.fetch_add(1, AcqRel) + 1;
    let gateway_errors = if (502..=504).contains(&status) {
        state.consecutive_gateway_errors.fetch_add(1, AcqRel) + 1
    } else {
        state.consecutive_gateway_errors.store(0, Relaxed);
        0
    };
    let reached = |limit: Option<u32>, count: u32| limit.is_some_and(|limit| count >= limit);
    let reason = if reached(detection.consecutive_5xx, errors) {
        CONSECUTIVE_5XX
    } else if reached(detection.consecutive_gateway_errors, gateway_errors) {
        CONSECUTIVE_GATEWAY_FAILURE
    } else {
        return None;
    };
    let (duration, times) = eject(detection, ring, state, now)?;
    Some(Ejection {
        endpoint: endpoint.name.clone(),
        reason,
        duration,
        times,
    })
}

/// Ejects the endpoint unless that would exceed the allowed percentage.
fn eject(
    detection: &OutlierDetection,
    ring: &Ring<'_>,
    state: &EndpointState,
    now: u64,
) -> Option<(Duration, u32)> {
    let _deciding = ring.client.deciding.lock();
    if state.is_ejected(now) {
        return None;
    }
    let ready = ring
        .endpoints
        .iter()
        .zip(ring.states)
        .filter(|(endpoint, _)| endpoint.is_ready());
    let (total, ejected) = ready.fold((0_u64, 0_u64), |(total, ejected), (_, state)| {
        (total + 1, ejected + u64::from(state.is_ejected(now)))
    });
    if (ejected + 1) * 100 > total * u64::from(detection.max_ejection_percent.min(100)) {
        return None;
    }
    let interval = nanos(detection.interval).max(1);
    let times = state.next_multiplier(now, interval);
    let longest = EJECTION_TIME_MAX.max(detection.base_ejection_time);
    let time = detection
        .base_ejection_time
        .saturating_mul(times)
        .min(longest);
    let until = now
        .saturating_add(nanos(time))
        .div_ceil(interval)
        .saturating_mul(interval);
    state.ejections.store(times, Release);
    state.ejected_until.store(until, Release);
    Some((Duration::from_nanos(until.saturating_sub(now)), times))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
