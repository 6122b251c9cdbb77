//! Sidecars: which of them limits what a workload sees.
//!
//! What a workload sees is compiled into [`super::snapshot::MeshHosts`], once for each
//! scope: a Sidecar, for the workloads of one namespace.

use std::collections::HashMap;

use galleria_manifest::model::Labels;

use crate::{ObjectRef, OutboundPolicy, Workload};

/// All Sidecars.
#[derive(Debug, Default)]
pub(crate) struct SidecarIndex {
    /// Oldest first.
    pub(crate) sidecars: Vec<IndexedSidecar>,
    /// By the number that a workload's scope has.
    pub(crate) scopes: Vec<SidecarScope>,
    pub(crate) root_namespace: String,
}

#[derive(Debug)]
pub(crate) struct IndexedSidecar {
    pub(crate) object: ObjectRef,
    /// `None` means every workload.
    pub(crate) labels: Option<Labels>,
    /// Numbers of scopes, by namespace.
    pub(crate) scopes: HashMap<String, u32>,
}

#[derive(Debug)]
pub(crate) struct SidecarScope {
    pub(crate) object: ObjectRef,
    /// `None` means that of the mesh.
    pub(crate) outbound_policy: Option<OutboundPolicy>,
}

impl SidecarIndex {
    /// The scope of a workload: that of the oldest Sidecar of its namespace that selects it
    /// by labels, else that of its namespace, else that of the root namespace. `None` if it
    /// sees everything.
    pub(crate) fn scope_of(&self, workload: &Workload) -> Option<u32> {
        let of = |namespace: &str, by_labels: bool| {
            self.sidecars.iter().find(|sidecar| {
                sidecar.object.namespace == namespace
                    && match &sidecar.labels {
                        Some(labels) => by_labels && contains(&workload.labels, labels),
                        None => !by_labels,
                    }
            })
        };
        let sidecar = of(&workload.namespace, true)
            .or_else(|| of(&workload.namespace, false))
            .or_else(|| of(&self.root_namespace, false))?;
        sidecar.scopes.get(&workload.namespace).copied()
    }

    pub(crate) fn scope(&self, number: u32) -> Option<&SidecarScope> {
        self.scopes.get(usize::try_from(number).ok()?)
    }
}

fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
