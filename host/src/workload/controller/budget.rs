//! PodDisruptionBudgets: how many ready pods the host may stop by itself.
//!
//! A cluster applies them when it drains a node. The host has no nodes to drain, so it
//! applies them to rollouts and to scaling down. Pods that are not ready may always be
//! stopped. Budgets do not apply to a workload that was removed from the manifests, or to a
//! Pod without a controller.

use galleria_manifest::model::{DisruptionBound, Labels, PodDisruptionBudget};
use serde_json::{Value, json};

use super::{Action, rounded_up};

/// The state of all budgets at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disruptions<'a>(pub(crate) Vec<Budget<'a>>);

/// One budget, and the pods that it selects.
#[derive(Debug, Clone)]
pub(crate) struct Budget<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub spec: &'a PodDisruptionBudget,
    /// The number of pods that their controllers want.
    pub expected: usize,
    /// The number of pods that are ready.
    pub healthy: usize,
}

/// The allowed actions of a controller.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AllowedActions {
    pub actions: Vec<Action>,
    /// The name of a budget that forbids another action.
    pub kept_back_by: Option<String>,
}

impl Budget<'_> {
    pub(crate) fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespace == namespace && self.spec.selector.matches(labels)
    }

    /// The number of pods that must be healthy.
    fn desired(&self) -> usize {
        match self.spec.bound {
            DisruptionBound::MinAvailable(min) => rounded_up(min, self.expected),
            DisruptionBound::MaxUnavailable(max) => {
                self.expected.saturating_sub(rounded_up(max, self.expected))
            }
        }
    }

    /// The number of pods that may be stopped.
    fn left(&self) -> usize {
        self.healthy.saturating_sub(self.desired())
    }

    /// The `status`, as in a cluster.
    pub(crate) fn status(&self, generation: u64) -> Value {
        let left = self.left();
        let (status, reason) = match left {
            0 => ("False", "InsufficientPods"),
            _ => ("True", "SufficientPods"),
        };
        json!({
            "observedGeneration": generation,
            "expectedPods": self.expected,
            "currentHealthy": self.healthy,
            "desiredHealthy": self.desired(),
            "disruptionsAllowed": left,
            "conditions": [{"type": "DisruptionAllowed", "status": status, "reason": reason}],
        })
    }
}

impl Disruptions<'_> {
    /// Removes the stops that a budget forbids. `ready` returns namespace and labels of a
    /// pod, if it is ready. With `together`, either all stops are allowed or none.
    pub(crate) fn allow<'p>(
        &mut self,
        actions: Vec<Action>,
        together: bool,
        ready: impl Fn(usize) -> Option<(&'p str, &'p Labels)>,
    ) -> AllowedActions {
        let mut left = self.clone();
        let mut kept_back_by = None;
        let mut allowed = |action: &Action| {
            let Action::Stop { target } = action else {
                return true;
            };
            let refusal =
                ready(*target).and_then(|(namespace, labels)| left.take(namespace, labels));
            let is_allowed = refusal.is_none();
            kept_back_by = kept_back_by.take().or(refusal);
            is_allowed
        };
        let (kept, _): (Vec<_>, Vec<_>) = actions.into_iter().partition(|it| allowed(it));
        if together && kept_back_by.is_some() {
            let is_start = |action: &Action| matches!(action, Action::Start { .. });
            let actions = kept.into_iter().filter(is_start).collect();
            return AllowedActions {
                actions,
                kept_back_by,
            };
        }
        *self = left;
        AllowedActions {
            actions: kept,
            kept_back_by,
        }
    }

    /// Counts a ready pod as stopped, or returns the name of the budget that forbids it.
    pub(crate) fn take(&mut self, namespace: &str, labels: &Labels) -> Option<String> {
        let selecting = || self.0.iter().filter(|it| it.selects(namespace, labels));
        if let Some(spent) = selecting().find(|budget| budget.left() == 0) {
            return Some(spent.name.to_owned());
        }
        for budget in &mut self.0 {
            if budget.selects(namespace, labels) {
                budget.healthy = budget.healthy.saturating_sub(1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use galleria_manifest::model::{IntOrPercent, LabelSelector};

    use super::*;

    fn spec(bound: DisruptionBound) -> PodDisruptionBudget {
        let selector = LabelSelector {
            match_labels: web(),
            match_expressions: Vec::new(),
        };
        PodDisruptionBudget { selector, bound }
    }

    fn web() -> Labels {
        Labels::from([("app".to_owned(), "web".to_owned())])
    }

    fn stops(targets: &[usize]) -> Vec<Action> {
        let stop = |target: &usize| Action::Stop { target: *target };
        targets.iter().map(stop).collect()
    }

    #[test]
    fn numbers_and_percentages_are_rounded_as_in_a_cluster() {
        let left = |bound, expected, healthy| {
            let spec = spec(bound);
            let budget = Budget {
                namespace: "test",
                name: "web",
                spec: &spec,
                expected,
                healthy,
            };
            budget.left()
        };
        let min = DisruptionBound::MinAvailable;
        let max = DisruptionBound::MaxUnavailable;
        assert_eq!(left(min(IntOrPercent::Int(2)), 5, 5), 3);
        assert_eq!(left(min(IntOrPercent::Int(2)), 1, 2), 0);
        assert_eq!(left(min(IntOrPercent::Percent(50)), 5, 5), 2, "3 of 5");
        assert_eq!(left(max(IntOrPercent::Percent(25)), 5, 5), 2, "rounded up");
        assert_eq!(left(max(IntOrPercent::Int(1)), 5, 4), 0);
        let surge = left(max(IntOrPercent::Int(0)), 5, 6);
        assert_eq!(surge, 1, "one more than wanted");
    }

    #[test]
    fn every_selecting_budget_must_allow_a_stop() {
        let one = spec(DisruptionBound::MinAvailable(IntOrPercent::Int(1)));
        let none = spec(DisruptionBound::MaxUnavailable(IntOrPercent::Int(0)));
        let budget = |namespace, name, spec| Budget {
            namespace,
            name,
            spec,
            expected: 2,
            healthy: 2,
        };
        let mut disruptions =
            Disruptions(vec![budget("a", "one", &one), budget("b", "none", &none)]);
        let (web, other) = (web(), Labels::new());
        let mut ask = |namespace, labels| {
            let allowed = disruptions.allow(stops(&[1]), false, |_| Some((namespace, labels)));
            (allowed.actions.len(), allowed.kept_back_by)
        };
        assert_eq!(ask("a", &web), (1, None));
        assert_eq!(
            ask("a", &web),
            (0, Some("one".into())),
            "the budget is used up"
        );
        assert_eq!(ask("b", &web), (0, Some("none".into())));
        assert_eq!(ask("b", &other), (1, None));
    }

    #[test]
    fn pods_that_are_not_ready_are_free_and_stops_together_are_all_or_none() {
        let spec = spec(DisruptionBound::MinAvailable(IntOrPercent::Int(1)));
        let budget = Budget {
            namespace: "test",
            name: "web",
            spec: &spec,
            expected: 2,
            healthy: 2,
        };
        let web = web();
        let ready = |target| (target < 3).then_some(("test", &web));
        let ask = |together| {
            let mut disruptions = Disruptions(vec![budget.clone()]);
            disruptions
                .allow(stops(&[3, 1, 2]), together, ready)
                .actions
        };
        assert_eq!(ask(false), stops(&[3, 1]));
        assert_eq!(ask(true), []);
    }
}
