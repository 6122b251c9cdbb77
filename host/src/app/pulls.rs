//! Retries of image pulls, as the kubelet's `ImagePullBackOff`: after pauses that
//! double, until the images are pulled or the manifests change. The previous
//! configuration keeps running meanwhile.
//!
//! This module only pulls. The control loop decides whether the manifests are applied.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::source::ObjectSource;
use crate::store::{EventType, InvolvedObject, Recorder};
use crate::workload::{Backoff, PlanError, UnavailableImage};

/// See the module's documentation.
pub(super) struct Pulls {
    recorder: Arc<Recorder>,
    backoff_initial: Duration,
    retry: Option<Retry>,
}

struct Retry {
    /// Its change needs the images.
    source: Arc<dyn ObjectSource>,
    task: AbortOnDropHandle<()>,
}

impl Pulls {
    pub(super) fn new(recorder: Arc<Recorder>, backoff_initial: Duration) -> Self {
        Self {
            recorder,
            backoff_initial,
            retry: None,
        }
    }

    /// Records the failed pulls as events, and repeats the plan of a change of `source`
    /// until all images are pulled. Other errors of the plan are ignored.
    pub(super) fn failed(
        &mut self,
        source: &Arc<dyn ObjectSource>,
        mut unavailable: Vec<UnavailableImage>,
        plan: impl Fn() -> Result<(), PlanError> + Send + Sync + 'static,
    ) {
        let recorder = self.recorder.clone();
        let mut backoff = Backoff::new(self.backoff_initial);
        let plan = Arc::new(plan);
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            while !unavailable.is_empty() {
                let pause = backoff.pause(Duration::ZERO);
                for unavailable in &unavailable {
                    record(&recorder, unavailable, pause);
                }
                tokio::time::sleep(pause).await;
                let plan = plan.clone();
                let planned = tokio::task::spawn_blocking(move || plan()).await;
                unavailable = match planned {
                    Ok(Err(error)) => error.unavailable,
                    // The control loop plans again, and reports a panic then.
                    Ok(Ok(())) | Err(_) => Vec::new(),
                };
            }
        }));
        let source = source.clone();
        self.retry = Some(Retry { source, task });
    }

    /// Stops pulling.
    pub(super) fn forget(&mut self) {
        self.retry = None;
    }

    /// Waits until all images are pulled, and returns the source that needs them.
    /// Waits forever if there are none to pull.
    pub(super) async fn succeeded(&mut self) -> Arc<dyn ObjectSource> {
        let Some(Retry { source, task }) = &mut self.retry else {
            return std::future::pending().await;
        };
        let _ = task.await;
        let source = source.clone();
        self.retry = None;
        source
    }
}

fn record(recorder: &Recorder, unavailable: &UnavailableImage, pause: Duration) {
    let UnavailableImage {
        object,
        image,
        message,
    } = unavailable;
    let involved = Arc::new(InvolvedObject::of(object));
    recorder.record(&involved, EventType::Warning, "Failed", message);
    let message = format!("ImagePullBackOff: back-off {pause:?} pulling image `{image}`");
    recorder.record(&involved, EventType::Warning, "BackOff", &message);
}
