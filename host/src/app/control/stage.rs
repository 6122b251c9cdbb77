//! Staging a change: reads, plans and compiles it, and changes nothing but which
//! listeners are bound.

use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::model::Object;

use super::{Control, Planning};
use crate::app::api_store::ApiStoreError;
use crate::app::desired::{Admissible, Desired};
use crate::app::source::{Contents, ObjectSource};
use crate::listen::ListenError;
use crate::store::immutable;
use crate::topology::UnknownWorkload;
use crate::workload::{Plan, PlanError, plan};

/// A change that can be committed.
pub(super) struct StagedChange {
    pub(super) in_force: Vec<Arc<Object>>,
    pub(super) waiting: Vec<(Arc<Object>, Vec<Diagnostic>)>,
    pub(super) plan: Plan,
    /// Warnings about the objects, which their source has already shown.
    pub(super) known_warnings: Vec<Diagnostic>,
    /// Warnings of the compilation.
    pub(super) warnings: Vec<Diagnostic>,
}

/// Why a change is not applied.
#[derive(Debug, thiserror::Error)]
pub(in crate::app) enum RejectedChange {
    #[error("the manifests have errors")]
    Manifests(Vec<Diagnostic>),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Topology(#[from] UnknownWorkload),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    ApiStore(#[from] ApiStoreError),
}

impl RejectedChange {
    /// The problems, each on one line.
    pub(in crate::app) fn problems(&self) -> Vec<String> {
        match self {
            Self::Manifests(problems) | Self::Plan(PlanError { problems, .. }) => {
                problems.iter().map(Diagnostic::to_string).collect()
            }
            Self::Topology(error) => vec![format!("error: {error}")],
            Self::Listen(error) => vec![format!("error: {error}")],
            Self::ApiStore(error) => vec![format!("error: {error}")],
        }
    }
}

/// Reads a source.
///
/// # Errors
/// The source cannot be read.
pub(super) async fn read(source: &Arc<dyn ObjectSource>) -> anyhow::Result<Contents> {
    let source = source.clone();
    tokio::task::spawn_blocking(move || source.read()).await?
}

impl Control {
    /// Does everything of a change that can fail.
    ///
    /// # Errors
    /// See [`RejectedChange`].
    pub(super) async fn stage(
        &mut self,
        desired: &Desired,
    ) -> Result<StagedChange, RejectedChange> {
        let admissible = self.settle(desired).map_err(RejectedChange::Manifests)?;
        let in_force = admissible.in_force;
        let changed = immutable::changes(&self.reporting.store, &in_force);
        if !changed.is_empty() {
            return Err(RejectedChange::Manifests(changed));
        }
        let here = self.data_plane.topology.here(&in_force)?;
        let plan = self.planning.plan(here).await?;
        let pods = self.controllers.workloads.pods();
        let trial = self.data_plane.compile(&in_force, &pods);
        self.data_plane.listeners.bind(&trial.snapshot).await?;
        Ok(StagedChange {
            in_force,
            waiting: admissible.waiting,
            plan,
            known_warnings: admissible.warnings,
            warnings: trial.diagnostics,
        })
    }

    /// The part of `desired` that can be in force, scaled by the autoscalers.
    ///
    /// # Errors
    /// The errors of that part.
    pub(super) fn settle(&self, desired: &Desired) -> Result<Admissible, Vec<Diagnostic>> {
        let in_force = self.in_force.iter().map(|object| object.key()).collect();
        let mut admissible = desired.settle(&in_force)?;
        admissible.in_force = self.controllers.autoscalers.scaled(admissible.in_force);
        Ok(admissible)
    }
}

impl Planning {
    /// Plans `objects` when it is called. Blocks the thread.
    pub(super) fn planner(
        &self,
        objects: Vec<Arc<Object>>,
    ) -> impl Fn() -> Result<Plan, PlanError> + Send + Sync + use<> {
        let (images, volumes) = (self.images.clone(), self.volumes.clone());
        move || plan(&objects, &images, &volumes)
    }

    async fn plan(&self, objects: Vec<Arc<Object>>) -> Result<Plan, PlanError> {
        let planned = tokio::task::spawn_blocking(self.planner(objects));
        // A panic while planning is a defect of the host and must not pass for a plan.
        planned
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}
