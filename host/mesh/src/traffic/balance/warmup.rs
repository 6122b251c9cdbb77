//! Warm-up: the share of an endpoint that has just become ready grows over time.
//!
//! This is Envoy's slow start with Istio's defaults: the share grows linearly from 10 % to
//! 100 % over the duration.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Candidates;
use crate::traffic::state::EndpointState;

/// The share at the start, in percent.
const SHARE_MIN: i64 = 10;

impl Candidates<'_> {
    /// Records when each endpoint became ready. Endpoints that are ready at the first
    /// request start together, which changes no share.
    pub(super) fn note_readiness(&self) {
        for (endpoint, state) in self.endpoints.iter().zip(self.states) {
            let since = state.ready_since.load(Relaxed);
            if !endpoint.is_ready() {
                state.ready_since.store(0, Relaxed);
            } else if since == 0 {
                state.ready_since.store(self.now, Relaxed);
            }
        }
    }
}

/// The weight of an endpoint at `now`, where `full` is its weight after the warm-up.
pub(super) fn scale(full: i64, state: &EndpointState, now: u64, warmup: Duration) -> i64 {
    let since = state.ready_since.load(Relaxed);
    let elapsed = now.saturating_sub(since);
    let percent = u128::from(elapsed) * 100 / warmup.as_nanos().max(1);
    let percent = i64::try_from(percent).unwrap_or(100).clamp(SHARE_MIN, 100);
    full * percent / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_the_whole() {
        let state = EndpointState::default();
        state.ready_since.store(1_000, Relaxed);
        let warmup = Duration::from_nanos(1_000);
        assert_eq!(scale(1000, &state, 1_000, warmup), 100);
        assert_eq!(scale(1000, &state, 1_500, warmup), 500);
        assert_eq!(scale(1000, &state, 9_000, warmup), 1000);
    }
}
