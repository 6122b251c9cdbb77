//! The supervisor of a pod: starts the guest, watches it, and restarts it when it fails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use galleria_manifest::model::{Probe, RestartPolicy};
use jiff::Timestamp;

use super::Pod;
use super::container::CONFIG_ERROR;
use super::life::Phase;
use crate::store::EventType;
use crate::workload::backoff::Backoff;
use crate::workload::{Platform, probe, scheduling};

/// The reason of a pod that exceeded its storage, or whose memory other pods are
/// entitled to. Its emptyDirs are emptied.
const EVICTED: &str = "Evicted";

/// Why a run of the guest ended.
pub(super) struct RunEnd {
    reason: &'static str,
    message: String,
    /// How long requests in progress may continue.
    grace: Duration,
}

impl RunEnd {
    /// Without a grace period.
    pub(super) fn at_once(reason: &'static str, message: String) -> Self {
        let grace = Duration::ZERO;
        Self {
            reason,
            message,
            grace,
        }
    }
}

impl Pod {
    /// Runs until the pod is stopped, or has failed and is not restarted.
    pub(super) async fn supervise(self: Arc<Self>, platform: Platform) {
        let mut backoff = Backoff::new(platform.restart_backoff_initial);
        let tolerations = &self.plan.template.spec.tolerations;
        tokio::select! {
            () = self.stop.cancelled() => return,
            () = scheduling::until_scheduled(&platform, tolerations, &self.life, || {
                self.readiness.send_modify(|changes| *changes += 1);
            }) => {}
        }
        loop {
            let started = Instant::now();
            let ended = tokio::select! {
                () = self.stop.cancelled() => return,
                ended = self.run(&platform) => ended,
            };
            self.set_ready(false);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = self.end_guest(ended.grace) => {}
            }
            if ended.reason == EVICTED {
                self.remove_files(&platform.sql).await;
            }
            if self.is_never_restarted() && ended.reason != CONFIG_ERROR {
                return self.fail(&ended);
            }
            let pause = backoff.pause(started.elapsed());
            self.back_off(ended, pause);
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Ends a pod with `restartPolicy: Never`.
    fn fail(&self, ended: &RunEnd) {
        let RunEnd {
            reason, message, ..
        } = ended;
        tracing::error!(pod = self.name, reason, "failed: {message}");
        self.life.ended(reason, message);
        self.life.record(EventType::Warning, "Failed", message);
        self.set_phase(Phase::Failed);
    }

    fn is_never_restarted(&self) -> bool {
        self.plan.template.spec.restart_policy == RestartPolicy::Never
    }

    /// Whether the pod has failed and is not restarted.
    pub(in crate::workload) fn has_failed(&self) -> bool {
        self.life.moment().phase == Phase::Failed
    }

    /// Reports the end of a run, after which the guest starts again in `pause`.
    fn back_off(&self, ended: RunEnd, pause: Duration) {
        let RunEnd {
            reason, message, ..
        } = ended;
        tracing::warn!(
            pod = self.name,
            reason,
            pause_seconds = pause.as_secs_f32(),
            "restarting: {message}"
        );
        if reason == CONFIG_ERROR {
            // Nothing ran, so this is not a restart.
            self.record(EventType::Warning, "Failed", &message);
            return self.set_phase(Phase::Waiting { reason, message });
        }
        self.restarts.fetch_add(1, Ordering::Relaxed);
        self.life.ended(reason, &message);
        let message = format!(
            "back-off {pause:?} restarting failed container={} pod={}_{}",
            self.plan.container.name, self.name, self.plan.identity.namespace
        );
        self.record(EventType::Warning, "BackOff", &message);
        let reason = "CrashLoopBackOff";
        self.set_phase(Phase::Waiting { reason, message });
    }

    /// Runs the guest once; returns why it ended.
    async fn run(self: &Arc<Self>, platform: &Platform) -> RunEnd {
        self.life.log.begin_run();
        self.set_phase(Phase::Starting);
        let mut changes = self.configuration.subscribe();
        let configuration = changes.borrow_and_update().clone();
        let guest = match self.make_guest(platform, configuration).await {
            Ok(guest) => Arc::new(guest),
            Err(ended) => return ended,
        };
        if let Err(failure) = guest.warm_up().await {
            let (reason, message) = (failure.reason(), failure.to_string());
            self.record(EventType::Warning, reason, &message);
            return RunEnd::at_once(reason, message);
        }
        self.guest.store(Some(guest));
        let since = Timestamp::now();
        self.set_phase(Phase::Running {
            since,
            started: false,
        });
        let text = format!("Started container {}", self.plan.container.name);
        self.record(EventType::Normal, "Started", &text);
        tokio::select! {
            ended = self.watch(since) => ended,
            message = self.volumes.until_over_limit() => RunEnd::at_once(EVICTED, message),
            message = self.account.memory.until_evicted() => RunEnd::at_once(EVICTED, message),
            never = self.follow_configuration(platform, changes) => match never {},
        }
    }

    /// Probes the guest, which has been running since `since`, until it must be restarted.
    async fn watch(&self, since: Timestamp) -> RunEnd {
        let container = &self.plan.container;
        let probes = probe::Probes::new(self);
        if let Some(startup) = &container.startup_probe
            && let Err(message) = probes.until_started(startup).await
        {
            return self.killed_by_probe("startup", startup, message);
        }
        self.set_phase(Phase::Running {
            since,
            started: true,
        });
        let readiness = probes.keep_ready(container.readiness_probe.as_ref());
        let liveness = async {
            let Some(probe) = &container.liveness_probe else {
                return std::future::pending().await;
            };
            let message = probes.until_dead(probe).await;
            self.killed_by_probe("liveness", probe, message)
        };
        tokio::select! {
            never = readiness => match never {},
            ended = liveness => ended,
        }
    }

    fn killed_by_probe(&self, kind: &str, probe: &Probe, message: String) -> RunEnd {
        let container = &self.plan.container.name;
        let text = format!("Container {container} failed {kind} probe, will be restarted");
        self.record(EventType::Normal, "Killing", &text);
        RunEnd {
            reason: "ProbeFailed",
            message,
            grace: probe
                .termination_grace_period
                .unwrap_or(self.plan.grace_period),
        }
    }
}
