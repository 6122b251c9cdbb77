//! What each workload accepts: the policies that select it, merged.

use std::sync::Arc;

use super::inventory::Inventory;
use crate::inbound::InboundPolicies;
use crate::inbound::network::index::NetworkPolicyIndex;
use crate::{Options, Workload};

/// Compiles the policies of each workload.
pub(crate) struct PolicyCompiler<'a> {
    _inventory: &'a Inventory<'a>,
    _options: &'a Options,
    network: &'a NetworkPolicyIndex,
}

impl<'a> PolicyCompiler<'a> {
    pub(crate) fn new(
        inventory: &'a Inventory<'a>,
        options: &'a Options,
        network: &'a NetworkPolicyIndex,
    ) -> Self {
        Self {
            network,
            _inventory: inventory,
            _options: options,
        }
    }

    /// The policies of `workload`; `None` if none selects it.
    pub(crate) fn of(&self, workload: &Workload) -> Option<Arc<InboundPolicies>> {
        let policies = InboundPolicies {
            network: self.network.of(workload),
            ..InboundPolicies::default()
        };
        (!policies.is_empty()).then(|| Arc::new(policies))
    }
}
