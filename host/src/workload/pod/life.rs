//! The state of a pod's container: its phase and since when, how it last ended, and its
//! events.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};

use crate::store::{EventType, InvolvedObject, Recorder, cut};
use crate::workload::Platform;
use crate::workload::log::PodLog;

/// The longest message of a termination, as the kubelet has it.
const MESSAGE_MAX: usize = 4_096;

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The node does not accept it now.
    Unschedulable {
        message: String,
    },
    /// Its first instance is being created.
    Starting,
    Running {
        since: Timestamp,
        /// Whether the startup probe has succeeded, or there is none.
        started: bool,
    },
    /// Failed; waits before it starts again.
    Waiting {
        /// `CrashLoopBackOff`, or why the container cannot be created.
        reason: &'static str,
        message: String,
    },
    /// Failed, and `restartPolicy` does not restart it.
    Failed,
    Terminating,
}

/// How an instance ended, or the whole guest if a probe failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Termination {
    pub reason: &'static str,
    /// Includes the guest's backtrace if it trapped.
    pub message: String,
    pub started: Timestamp,
    pub finished: Timestamp,
}

/// See the module's documentation.
pub(in crate::workload) struct Life {
    pub(in crate::workload) created: Timestamp,
    recorder: Arc<Recorder>,
    /// The output of its guests.
    pub(in crate::workload) log: Arc<PodLog>,
    /// The pod, as events refer to it.
    involved: Arc<InvolvedObject>,
    moment: Mutex<Moment>,
}

/// A container at one moment.
#[derive(Debug, Clone)]
pub(in crate::workload) struct Moment {
    pub(in crate::workload) phase: Phase,
    /// When the current run started, or the last one.
    pub(in crate::workload) started: Timestamp,
    pub(in crate::workload) last: Option<Termination>,
    /// When readiness last changed.
    pub(in crate::workload) ready_since: Timestamp,
}

impl Life {
    /// The state of the pod `name`, which starts now.
    pub(in crate::workload) fn new(
        platform: &Platform,
        namespace: String,
        name: String,
        uid: String,
    ) -> Arc<Self> {
        let now = Timestamp::now();
        Arc::new(Self {
            created: now,
            recorder: platform.recorder.clone(),
            log: platform.logs.begin(&namespace, &name),
            involved: Arc::new(InvolvedObject {
                api_version: "v1".into(),
                kind: "Pod".into(),
                namespace,
                name,
                uid,
            }),
            moment: Mutex::new(Moment {
                phase: Phase::Starting,
                started: now,
                last: None,
                ready_since: now,
            }),
        })
    }

    pub(in crate::workload) fn uid(&self) -> &str {
        &self.involved.uid
    }

    /// Records an event of this pod.
    pub(in crate::workload) fn record(&self, kind: EventType, reason: &'static str, message: &str) {
        self.recorder.record(&self.involved, kind, reason, message);
    }

    /// Changes to `phase`, unless the pod is terminating.
    pub(in crate::workload) fn enter(&self, phase: Phase) {
        let mut moment = self.lock();
        if let Phase::Running { since, .. } = phase {
            moment.started = since;
        }
        if moment.phase != Phase::Terminating {
            moment.phase = phase;
        }
    }

    /// The guest, or an instance of it, failed.
    pub(in crate::workload) fn ended(&self, reason: &'static str, message: &str) {
        let mut moment = self.lock();
        moment.last = Some(Termination {
            reason,
            message: cut(message, MESSAGE_MAX),
            started: moment.started,
            finished: Timestamp::now(),
        });
    }

    pub(in crate::workload) fn readiness_changed(&self) {
        self.lock().ready_since = Timestamp::now();
    }

    pub(in crate::workload) fn moment(&self) -> Moment {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Moment> {
        self.moment.lock()
    }
}

impl Phase {
    /// As in kubectl's STATUS column.
    pub(in crate::workload) fn name(&self) -> &'static str {
        match self {
            Self::Unschedulable { .. } => "Pending",
            Self::Starting => "ContainerCreating",
            Self::Running { .. } => "Running",
            Self::Waiting { reason, .. } => reason,
            Self::Failed => "Error",
            Self::Terminating => "Terminating",
        }
    }
}

impl Termination {
    /// The code that a container runtime would report: 137 if it was killed, 134 for a
    /// trap (an abort), 128 if it could not be started.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.reason {
            "OOMKilled" | "DeadlineExceeded" | "ProbeFailed" | "Evicted" => 137,
            "StartError" => 128,
            _ => 134,
        }
    }
}
