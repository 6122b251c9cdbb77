//! What PodDisruptionBudgets leave of the decisions of a controller.

use std::sync::Arc;

use super::Running;
use crate::store::{EventType, InvolvedObject};
use crate::workload::controller::Action;
use crate::workload::controller::budget::{AllowedActions, Disruptions};
use crate::workload::controller::deployment::Method;
use crate::workload::kubelet::Kubelet;
use crate::workload::plan::Controller;

/// The reason of the event that a budget causes.
const KEPT_BACK: &str = "DisruptionNotAllowed";

impl Running {
    /// The part of `actions` that the PodDisruptionBudgets allow. `Recreate` stops all old
    /// pods or none: stopping some of them would reduce capacity without progress.
    pub(super) fn allow(
        &self,
        actions: Vec<Action>,
        disruptions: &mut Disruptions<'_>,
    ) -> AllowedActions {
        let member = |target| self.pods.iter().find(|it| it.pod.target == target);
        let is_old = |action: &Action| match action {
            Action::Stop { target } => {
                member(*target).is_some_and(|it| it.revision != self.plan.pods.revision)
            }
            Action::Start { .. } => false,
        };
        let together = match &self.plan.controller {
            Controller::Deployment { rollout, .. } => {
                rollout.method == Method::Recreate && actions.iter().any(is_old)
            }
            Controller::Pod => {
                return AllowedActions {
                    actions,
                    kept_back_by: None,
                };
            }
            _ => false,
        };
        let namespace = self.plan.pods.identity.namespace.as_str();
        disruptions.allow(actions, together, |target| {
            let pod = &member(target)?.pod;
            pod.is_ready()
                .then_some((namespace, &pod.plan.template.labels))
        })
    }

    /// Records, once, that a budget prevents it from stopping pods.
    pub(super) fn keep_back(&mut self, by: Option<String>, kubelet: &Kubelet) {
        if let Some(budget) = &by
            && by != self.kept_back_by
        {
            let message = format!(
                "cannot stop a pod now: the PodDisruptionBudget {budget} does not allow it"
            );
            tracing::info!(workload = %self.plan.object.key(), "{message}");
            let involved = Arc::new(InvolvedObject::of(&self.plan.object));
            kubelet
                .recorder()
                .record(&involved, EventType::Normal, KEPT_BACK, &message);
        }
        self.kept_back_by = by;
    }
}
