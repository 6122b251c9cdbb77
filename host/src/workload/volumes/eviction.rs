//! Eviction of pods whose emptyDirs or root exceed their limits.

use std::sync::Arc;
use std::time::Duration;

use super::PodVolumes;
use crate::guest::VolumeQuota;

/// How often the files of a pod are measured; the kubelet measures every 10 s.
const MEASURE: Duration = Duration::from_secs(1);

impl PodVolumes {
    /// Waits until the pod exceeds a limit of its emptyDirs, or of all its files. Returns the
    /// message that the kubelet gives when it evicts a pod.
    pub(crate) async fn until_over_limit(self: &Arc<Self>) -> String {
        if !self.is_limited() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(MEASURE).await;
            let volumes = self.clone();
            let measured = self.walks.run(move || volumes.over_limit());
            if let Ok(Some(message)) = measured.await {
                return message;
            }
        }
    }

    /// Whether the pod or any of its emptyDirs has a limit.
    fn is_limited(&self) -> bool {
        let is_limited = |quota: &Arc<VolumeQuota>| quota.limit() < u64::MAX;
        self.all_empty.is_some() || self.empty.values().any(is_limited)
    }

    fn over_limit(&self) -> Option<String> {
        let is_over = |quota: &VolumeQuota| {
            quota.limit() < u64::MAX && {
                quota.measure();
                quota.was_exceeded()
            }
        };
        for (name, quota) in &self.empty {
            if is_over(quota) {
                return Some(format!(
                    "usage of emptyDir volume `{name}` exceeds its sizeLimit of {} bytes",
                    quota.limit()
                ));
            }
        }
        let all = self.all_empty.as_ref().filter(|all| is_over(all))?;
        Some(format!(
            "usage of the pod's root and emptyDir volumes exceeds limits.ephemeral-storage of {} bytes",
            all.limit()
        ))
    }
}
