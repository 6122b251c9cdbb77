//! Which workloads call as members of the mesh.
//!
//! In a cluster, a pod without a sidecar calls in plain text and proves no identity. Here every
//! workload is a member unless its labels say that it has no sidecar.

use std::collections::HashSet;

use galleria_manifest::model::Labels;

use crate::Workload;

/// The label of a pod, `true` or `false`, which overrides that of its namespace.
const POD_LABEL: &str = "sidecar.istio.io/inject";

/// The label of a namespace: `enabled` or `disabled`.
const NAMESPACE_LABEL: &str = "istio-injection";

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// The namespaces whose pods are no members.
    outside: HashSet<String>,
}

impl Membership {
    /// Of namespaces with their labels.
    pub(crate) fn new<'a>(namespaces: impl Iterator<Item = (&'a str, &'a Labels)>) -> Self {
        let is_outside = |labels: &Labels| {
            labels
                .get(NAMESPACE_LABEL)
                .is_some_and(|it| it == "disabled")
        };
        let outside = namespaces.filter(|(_, labels)| is_outside(labels));
        Self {
            outside: outside.map(|(name, _)| name.to_owned()).collect(),
        }
    }

    pub(crate) fn includes(&self, workload: &Workload) -> bool {
        match workload.labels.get(POD_LABEL).map(String::as_str) {
            Some("true") => true,
            Some("false") => false,
            _ => !self.outside.contains(&workload.namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_is_a_member_unless_it_or_its_namespace_says_otherwise() {
        let labels = |key: &str, value: &str| Labels::from([(key.to_owned(), value.to_owned())]);
        let (enabled, disabled) = (
            labels(NAMESPACE_LABEL, "enabled"),
            labels(NAMESPACE_LABEL, "disabled"),
        );
        let membership = Membership::new([("in", &enabled), ("out", &disabled)].into_iter());
        for (namespace, label, expected) in [
            ("in", None, true),
            ("out", None, false),
            ("undeclared", None, true),
            ("in", Some("false"), false),
            ("out", Some("true"), true),
            ("out", Some("maybe"), false),
        ] {
            let own = label.map_or_else(Labels::new, |value| labels(POD_LABEL, value));
            let workload = Workload::new(namespace, "app", "default", own);
            assert_eq!(
                membership.includes(&workload),
                expected,
                "{namespace} {label:?}"
            );
        }
    }
}
