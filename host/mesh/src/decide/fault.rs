//! Fault injection: a delay and an abort, each with its own percentage.
//!
//! Both are sampled once per request, before the route's timeout begins, and never for a
//! retry, as in Envoy's fault filter.

use std::time::Duration;

use galleria_manifest::model::{self, AbortStatus, Percent};
use http::StatusCode;
use rand::Rng;

use crate::LocalReply;

/// The faults of one request: wait for `delay` (flag DI), then answer with `abort` (flag
/// FI) instead of forwarding the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultPlan {
    pub delay: Option<Duration>,
    pub abort: Option<LocalReply>,
}

/// `http[].fault`.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) delay: Option<(Duration, Percent)>,
    pub(crate) abort: Option<(AbortStatus, Percent)>,
}

impl Fault {
    pub(crate) fn new(fault: &model::Fault) -> Self {
        Self {
            delay: fault
                .delay
                .as_ref()
                .map(|delay| (delay.fixed_delay, delay.percentage)),
            abort: fault
                .abort
                .as_ref()
                .map(|abort| (abort.status, abort.percentage)),
        }
    }

    pub(crate) fn plan(&self, rng: &mut impl Rng) -> FaultPlan {
        let delay = self.delay.filter(|(_, percent)| happens(*percent, rng));
        let abort = self.abort.filter(|(_, percent)| happens(*percent, rng));
        FaultPlan {
            delay: delay.map(|(duration, _)| duration),
            abort: abort.map(|(status, _)| abort_reply(status)),
        }
    }
}

fn abort_reply(status: AbortStatus) -> LocalReply {
    match status {
        // The manifest reader accepts valid status codes only.
        AbortStatus::Http(code) => LocalReply::fault_abort(
            StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        ),
        AbortStatus::Grpc(code) => LocalReply::fault_abort_grpc(code),
    }
}

/// Samples a percentage.
pub(crate) fn happens(percent: Percent, rng: &mut impl Rng) -> bool {
    percent.0 >= 100.0 || (percent.0 > 0.0 && rng.random_range(0.0..100.0) < percent.0)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_fault_without_percentage_does_nothing() {
        let fault = Fault {
            delay: Some((Duration::from_secs(1), Percent(0.0))),
            abort: Some((AbortStatus::Http(503), Percent(0.0))),
        };
        let mut rng = StdRng::seed_from_u64(1);
        assert!((0..1000).all(|_| fault.plan(&mut rng) == FaultPlan::default()));
    }

    #[test]
    fn delay_and_abort_are_sampled_independently() {
        let fault = Fault {
            delay: Some((Duration::from_secs(1), Percent(50.0))),
            abort: Some((AbortStatus::Http(503), Percent(50.0))),
        };
        let mut rng = StdRng::seed_from_u64(1);
        let plans: Vec<FaultPlan> = (0..4000).map(|_| fault.plan(&mut rng)).collect();
        let both = plans
            .iter()
            .filter(|plan| plan.delay.is_some() && plan.abort.is_some())
            .count();
        assert!((800..1200).contains(&both), "{both} of 4000 had both");
    }
}
