//! The state of a pod at one moment, for `galleria status` and the metrics.

use std::time::Duration;

use super::Pod;
use super::life::Phase;
use crate::guest::PoolStatus;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct PodStatus {
    pub name: String,
    pub ready: bool,
    pub restarts: u32,
    /// As in kubectl's STATUS column: `Running`, `CrashLoopBackOff`, …
    pub phase: &'static str,
    /// Why it is not running.
    pub message: Option<String>,
    /// Why the guest or an instance of it last ended: a reason as in Kubernetes.
    pub last_termination: Option<&'static str>,
    pub age: Duration,
    pub pool: PoolStatus,
    pub memory_bytes: u64,
    pub memory_limit_bytes: u64,
}

impl Pod {
    pub(crate) fn status(&self) -> PodStatus {
        let moment = self.life.moment();
        let message = match (&moment.phase, &moment.last) {
            (Phase::Waiting { .. } | Phase::Failed, Some(last)) => {
                Some(format!("{}: {}", last.reason, last.message))
            }
            (Phase::Waiting { message, .. }, None) | (Phase::Unschedulable { message }, _) => {
                Some(message.clone())
            }
            _ => None,
        };
        PodStatus {
            name: self.name.clone(),
            ready: self.is_ready(),
            restarts: self.restarts(),
            phase: moment.phase.name(),
            message,
            last_termination: moment.last.map(|last| last.reason),
            age: self.created.elapsed(),
            pool: self
                .guest
                .load()
                .as_ref()
                .map(|guest| guest.status())
                .unwrap_or_default(),
            memory_bytes: self.account.memory.used(),
            memory_limit_bytes: self.account.memory.limit(),
        }
    }
}
