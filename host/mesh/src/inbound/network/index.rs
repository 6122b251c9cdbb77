//! All NetworkPolicies: which of them govern a workload.

use std::sync::Arc;

use galleria_manifest::model::LabelSelector;

use super::NetworkPolicies;
use super::isolation::{Direction, GoverningPolicy, Isolation};
use super::rule::Surroundings;
use crate::Workload;

/// All NetworkPolicies.
#[derive(Debug)]
pub(crate) struct NetworkPolicyIndex {
    pub(crate) policies: Vec<IndexedPolicy>,
    pub(crate) around: Arc<Surroundings>,
}

#[derive(Debug)]
pub(crate) struct IndexedPolicy {
    pub(crate) namespace: String,
    pub(crate) pods: LabelSelector,
    /// `None` if the policy leaves the direction open.
    pub(crate) ingress: Option<GoverningPolicy>,
    pub(crate) egress: Option<GoverningPolicy>,
}

impl NetworkPolicyIndex {
    pub(crate) fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The policies that select `workload`.
    pub(crate) fn of(&self, workload: &Workload) -> NetworkPolicies {
        NetworkPolicies {
            ingress: self.isolation(workload, Direction::Ingress),
            egress: self.isolation(workload, Direction::Egress),
        }
    }

    /// The policies that select the host's own gateway.
    pub(crate) fn of_gateway(&self) -> NetworkPolicies {
        self.of(&self.around.gateway)
    }

    fn isolation(&self, workload: &Workload, direction: Direction) -> Option<Arc<Isolation>> {
        let selecting = self.policies.iter().filter(|policy| {
            policy.namespace == workload.namespace && policy.pods.matches(&workload.labels)
        });
        let mut governing = selecting.filter_map(|policy| match direction {
            Direction::Ingress => policy.ingress.clone(),
            Direction::Egress => policy.egress.clone(),
        });
        let first = governing.next()?;
        Some(Arc::new(Isolation {
            direction,
            workload: format!("{}/{}", workload.namespace, workload.name),
            first,
            others: governing.collect(),
            around: Arc::clone(&self.around),
        }))
    }
}
