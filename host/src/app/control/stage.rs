//! Staging a change: reads, plans and compiles it, and changes nothing but which
//! listeners are bound.

use std::sync::Arc;

use galleria_manifest::model::Object;
use galleria_manifest::{Diagnostic, Severity};
use tracing::{Instrument, Span};

use super::{Control, Planning, trace};
use crate::app::api_store::ApiStoreError;
use crate::app::desired::{Admissible, DesiredState};
use crate::app::source::{Contents, ObjectSource};
use crate::listen::ListenError;
use crate::store::immutable;
use crate::telemetry::trace::control::{ControlSpan, control_span};
use crate::telemetry::trace::{attributes, spans};
use crate::tls::GatewayTls;
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
    pub(super) tls: GatewayTls,
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
    /// `error.type` of its span.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Manifests(_) => "InvalidObjects",
            Self::Plan(_) => "InvalidPlan",
            Self::Topology(_) => "UnknownWorkload",
            Self::Listen(_) => "ListenFailed",
            Self::ApiStore(_) => "NotPersisted",
        }
    }

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
    let span = control_span!(spans::READ);
    span.set(attributes::SOURCE, source.name());
    let source = source.clone();
    let reading = tokio::task::spawn_blocking(move || source.read());
    let read = reading.instrument(span.clone()).await?;
    match &read {
        Err(error) => span.fail("Unreadable", error),
        Ok(contents) if contents.has_errors() => {
            let rejected = RejectedChange::Manifests(contents.diagnostics.clone());
            trace::reject(&span, &rejected);
        }
        Ok(_) => {}
    }
    read
}

impl Control {
    /// Does everything of a change that can fail.
    ///
    /// # Errors
    /// See [`RejectedChange`].
    pub(super) async fn stage(
        &mut self,
        desired: &DesiredState,
    ) -> Result<StagedChange, RejectedChange> {
        let span = control_span!(spans::CHECK);
        let admissible = trace::step(span, async { self.check(desired) }).await?;
        let in_force = admissible.in_force;
        let here = self.data_plane.topology.here(&in_force)?;
        let plan = self.planning.plan(here);
        let plan = trace::step(control_span!(spans::PLAN), plan).await?;
        let span = control_span!(spans::COMPILE);
        let (warnings, tls) = trace::step(span, self.compile(&in_force)).await?;
        let warnings = warnings.into_iter().chain(tls.diagnostics());
        Ok(StagedChange {
            in_force,
            waiting: admissible.waiting,
            plan,
            known_warnings: admissible.warnings,
            warnings: warnings.collect(),
            tls,
        })
    }

    fn check(&self, desired: &DesiredState) -> Result<Admissible, RejectedChange> {
        let admissible = self.settle(desired).map_err(RejectedChange::Manifests)?;
        let changed = immutable::changes(&self.reporting.store, &admissible.in_force);
        match changed.is_empty() {
            true => Ok(admissible),
            false => Err(RejectedChange::Manifests(changed)),
        }
    }

    /// Compiles the snapshot of `objects` and the present pods, reads the certificates of its
    /// listeners, and binds them. Returns the warnings of the compilation and of binding.
    async fn compile(
        &mut self,
        objects: &[Arc<Object>],
    ) -> Result<(Vec<Diagnostic>, GatewayTls), RejectedChange> {
        let pods = self.controllers.workloads.pods();
        let trial = self.data_plane.compile(objects, &pods);
        let is_error = |it: &&Diagnostic| it.severity == Severity::Error;
        let errors: Vec<_> = trial.diagnostics.iter().filter(is_error).cloned().collect();
        if !errors.is_empty() {
            return Err(RejectedChange::Manifests(errors));
        }
        let tls = self.data_plane.load_tls(&trial.snapshot, objects);
        let listeners = &mut self.data_plane.listeners;
        let mut warnings = trial.diagnostics;
        warnings.extend(listeners.bind(&trial.snapshot, &tls).await?);
        Ok((warnings, tls))
    }

    /// The part of `desired` that can be in force, scaled by the autoscalers.
    ///
    /// # Errors
    /// The errors of that part.
    pub(super) fn settle(&self, desired: &DesiredState) -> Result<Admissible, Vec<Diagnostic>> {
        let in_force = self.in_force.iter().map(|object| object.key()).collect();
        let mut admissible =
            desired.settle(&in_force, self.strict, self.gateway_namespace.as_deref())?;
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
        let trust_domain = self.trust_domain.clone();
        move || plan(&objects, &images, &volumes, &trust_domain)
    }

    async fn plan(&self, objects: Vec<Arc<Object>>) -> Result<Plan, RejectedChange> {
        let (planner, span) = (self.planner(objects), Span::current());
        let planned = tokio::task::spawn_blocking(move || span.in_scope(planner)).await;
        // A panic while planning is a defect of the host and must not pass for a plan.
        let planned = planned.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        Ok(planned?)
    }
}
