//! The PodDisruptionBudgets, with the pods that they select now. What they allow is
//! decided in `controller/budget.rs`.

use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey, Resource};
use serde_json::Value;

use super::controller::budget::{Budget, Disruptions};
use super::running::Running;

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Budgets {
    /// Each with its `metadata.generation`.
    objects: Vec<(Arc<Object>, u64)>,
}

impl Budgets {
    pub(super) fn new(objects: &[Arc<Object>], generation: impl Fn(&ObjectKey) -> u64) -> Self {
        let with_generation = |object: &Arc<Object>| (object.clone(), generation(&object.key()));
        Self {
            objects: objects.iter().map(with_generation).collect(),
        }
    }

    /// The state of each budget, in the order of the objects.
    pub(super) fn disruptions<'r>(
        &self,
        running: &(impl Iterator<Item = &'r Running> + Clone),
    ) -> Disruptions<'_> {
        let budgets = self.objects.iter().filter_map(|(object, _)| {
            let Resource::PodDisruptionBudget(spec) = &object.resource else {
                return None;
            };
            let mut budget = Budget {
                namespace: &object.metadata.namespace,
                name: &object.metadata.name.value,
                spec,
                expected: 0,
                healthy: 0,
            };
            for running in running.clone() {
                count(running, &mut budget);
            }
            Some(budget)
        });
        Disruptions(budgets.collect())
    }

    pub(super) fn statuses<'r>(
        &self,
        running: &(impl Iterator<Item = &'r Running> + Clone),
    ) -> Vec<(ObjectKey, Value)> {
        let disruptions = self.disruptions(running);
        let objects = self.objects.iter().zip(&disruptions.0);
        objects
            .map(|((object, generation), budget)| (object.key(), budget.status(*generation)))
            .collect()
    }
}

/// Counts the pods of `running` that the budget selects.
fn count(running: &Running, budget: &mut Budget<'_>) {
    let plan = &running.plan.pods;
    let namespace = &plan.identity.namespace;
    let selected = running
        .pods()
        .filter(|pod| budget.selects(namespace, &pod.plan.template.labels));
    let (all, ready) = selected.fold((0, 0), |(all, ready), pod| {
        (all + 1, ready + usize::from(pod.is_ready()))
    });
    if all > 0 || budget.selects(namespace, &plan.template.labels) {
        budget.expected += running.plan.replicas();
        budget.healthy += ready;
    }
}
