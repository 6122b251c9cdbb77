//! Pods that wait until the node accepts them.

use galleria_manifest::model::Toleration;

use super::Platform;
use super::pod::{Life, Phase};
use crate::store::EventType;

/// The reason of the event of a pod that the node does not accept, as a scheduler's.
const FAILED_SCHEDULING: &str = "FailedScheduling";

/// Waits until the node accepts a pod with these tolerations. From then on the pod stays,
/// whatever the node accepts. `changed` is called when the pod begins or ends to wait.
pub(super) async fn until_scheduled(
    platform: &Platform,
    tolerations: &[Toleration],
    life: &Life,
    changed: impl Fn(),
) {
    let mut node = platform.node.subscribe();
    let mut waits = false;
    loop {
        let refusal = node.borrow_and_update().refusal(tolerations);
        let Some(message) = refusal else {
            break;
        };
        if !waits {
            life.record(EventType::Warning, FAILED_SCHEDULING, &message);
        }
        waits = true;
        life.enter(Phase::Unschedulable { message });
        changed();
        if node.changed().await.is_err() {
            // The host ends.
            std::future::pending::<()>().await;
        }
    }
    if waits {
        life.enter(Phase::Starting);
        changed();
    }
}
