//! The end of a pod's guest: `preStop`, then a grace period for requests in progress,
//! then the kill.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::Pod;
use crate::workload::{Platform, probe};

impl Pod {
    /// Ends the guest within the pod's grace period, then removes its files.
    pub(in crate::workload) async fn drained(&self, platform: &Platform) {
        self.end_guest(self.plan.grace_period).await;
        self.remove_files(&platform.sql).await;
    }

    /// Runs `preStop` and waits for the requests in progress, both within `grace`, then
    /// kills the guest.
    pub(super) async fn end_guest(&self, grace: Duration) {
        let Some(guest) = self.guest.load_full() else {
            return;
        };
        let until = (Instant::now() + grace).into();
        if let Some(hook) = &self.plan.container.pre_stop {
            let result = timeout_at(until, probe::http_get(self, hook)).await;
            let failed = match result {
                Ok(Ok(_)) => None,
                Ok(Err(message)) => Some(message),
                Err(_) => Some("no answer within the grace period".into()),
            };
            if let Some(message) = failed {
                tracing::warn!(pod = self.name, message, "the preStop hook failed");
            }
        }
        if timeout_at(until, self.all_left()).await.is_err() {
            let requests = self.requests.load(Ordering::Relaxed);
            tracing::warn!(
                pod = self.name,
                requests,
                "killed with active requests after its grace period"
            );
            guest.kill();
        }
        self.guest.store(None);
    }

    /// Waits until no request is in progress.
    async fn all_left(&self) {
        loop {
            let left = self.idle.notified();
            if self.requests.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }
}
