//! Which workloads a policy of Istio's security API selects.

use galleria_manifest::model::{Labels, PolicyScope, PolicyTarget, PolicyTargetKind};

use super::inventory::Inventory;
use crate::Workload;

/// The label of a gateway's pods with the name of its Gateway.
const GATEWAY_NAMES: [&str; 2] = [
    "gateway.networking.k8s.io/gateway-name",
    "istio.io/gateway-name",
];

/// Decides whether a policy of `namespace` selects `workload`. A policy of the root namespace
/// is for the workloads of every namespace.
pub(crate) fn selects(
    scope: &PolicyScope,
    namespace: &str,
    workload: &Workload,
    inventory: &Inventory<'_>,
    root_namespace: &str,
) -> bool {
    let targets = |target: &PolicyTarget| {
        target.kind == PolicyTargetKind::Service
            && inventory.services.iter().any(|service| {
                service.namespace() == workload.namespace
                    && service.name() == target.name.as_str()
                    && selects_pods_of(&service.spec.selector, workload)
            })
    };
    let is_own = namespace == workload.namespace;
    match scope {
        PolicyScope::Targets(list) => is_own && list.iter().any(targets),
        _ if !is_own && namespace != root_namespace => false,
        PolicyScope::All => true,
        PolicyScope::Labels(labels) => has_labels(workload, labels),
    }
}

/// Whether a policy of `home` is for the requests that a Gateway of the Gateway API serves.
/// The host serves the Gateways of every class in the same way.
pub(crate) fn targets_gateway(
    scope: &PolicyScope,
    home: &str,
    (namespace, name): (&str, &str),
    root_namespace: &str,
) -> bool {
    match scope {
        PolicyScope::All => false,
        PolicyScope::Labels(labels) => {
            let is_named = |key: &&str| labels.get(*key).is_some_and(|it| it == name);
            let reaches = home == namespace || home == root_namespace;
            labels.len() == 1 && reaches && GATEWAY_NAMES.iter().any(is_named)
        }
        PolicyScope::Targets(targets) => targets.iter().any(|target| match target.kind {
            PolicyTargetKind::Gateway => home == namespace && target.name.as_str() == name,
            PolicyTargetKind::GatewayClass => home == root_namespace,
            PolicyTargetKind::Service => false,
        }),
    }
}

pub(crate) fn has_labels(workload: &Workload, labels: &Labels) -> bool {
    let mut labels = labels.iter();
    labels.all(|(key, value)| workload.labels.get(key) == Some(value))
}

/// As [`has_labels`], for a Service, where no label selects nothing.
pub(crate) fn selects_pods_of(selector: &Labels, workload: &Workload) -> bool {
    !selector.is_empty() && has_labels(workload, selector)
}
