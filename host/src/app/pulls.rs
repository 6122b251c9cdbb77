//! Images that could not be pulled are tried again, as the kubelet does it
//! (`ImagePullBackOff`): after pauses that double, until they are there or the
//! manifests say something else. What ran before goes on meanwhile.
//!
//! It only tries: whether the manifests are taken is for the control loop to say.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use crate::store::{EventType, Involved, Recorder};
use crate::workload::{Backoff, PlanError, Unpulled};

/// See the module's documentation.
pub(super) struct Pulls {
    recorder: Arc<Recorder>,
    backoff_initial: Duration,
    trying: Option<AbortOnDropHandle<()>>,
}

impl Pulls {
    pub(super) fn new(recorder: Arc<Recorder>, backoff_initial: Duration) -> Self {
        Self {
            recorder,
            backoff_initial,
            trying: None,
        }
    }

    /// Tells what could not be pulled, and makes the plan again and again until
    /// nothing is left of that; what else is wrong with it is not looked at.
    pub(super) fn failed(
        &mut self,
        mut unpulled: Vec<Unpulled>,
        plan: impl Fn() -> Result<(), PlanError> + Send + Sync + 'static,
    ) {
        let recorder = self.recorder.clone();
        let mut backoff = Backoff::new(self.backoff_initial);
        let plan = Arc::new(plan);
        self.trying = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            while !unpulled.is_empty() {
                let pause = backoff.pause(Duration::ZERO);
                for unpulled in &unpulled {
                    record(&recorder, unpulled, pause);
                }
                tokio::time::sleep(pause).await;
                let plan = plan.clone();
                let planned = tokio::task::spawn_blocking(move || plan()).await;
                unpulled = match planned {
                    Ok(Err(error)) => error.unpulled,
                    // A panic is told where the plan is made in earnest.
                    Ok(Ok(())) | Err(_) => Vec::new(),
                };
            }
        })));
    }

    /// Nothing is to be pulled any more.
    pub(super) fn forget(&mut self) {
        self.trying = None;
    }

    /// Waits until everything can be pulled that could not be.
    pub(super) async fn succeeded(&mut self) {
        match &mut self.trying {
            Some(trying) => {
                let _ = trying.await;
                self.trying = None;
            }
            None => std::future::pending().await,
        }
    }
}

fn record(recorder: &Recorder, unpulled: &Unpulled, pause: Duration) {
    let Unpulled {
        object,
        image,
        message,
    } = unpulled;
    let involved = Arc::new(Involved::of(object));
    recorder.record(&involved, EventType::Warning, "Failed", message);
    let message = format!("ImagePullBackOff: back-off {pause:?} pulling image `{image}`");
    recorder.record(&involved, EventType::Warning, "BackOff", &message);
}
