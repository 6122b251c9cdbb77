//! Changes of sources: reads a source again and applies the difference.

use std::sync::Arc;

use tracing::{Instrument, Span};

use super::{Control, RejectedChange, stage, trace};
use crate::app::desired::DesiredState;
use crate::app::source::ObjectSource;
use crate::telemetry::trace::control::{ControlSpan, control_span};
use crate::telemetry::trace::{attributes, spans};

impl Control {
    /// Reads a source again and applies what has changed.
    pub(super) async fn reload(&mut self, source: Arc<dyn ObjectSource>) {
        let span = control_span!(spans::RELOAD);
        span.set(attributes::SOURCE, source.name());
        self.read_and_apply(source).instrument(span).await;
    }

    async fn read_and_apply(&mut self, source: Arc<dyn ObjectSource>) {
        let span = Span::current();
        let applied = match stage::read(&source).await {
            Err(error) => {
                span.fail("Unreadable", format_args!("{error:#}"));
                tracing::error!("cannot read the {}: {error:#}", source.name());
                return;
            }
            Ok(contents) if contents.has_errors() => {
                Err(RejectedChange::Manifests(contents.diagnostics))
            }
            Ok(contents) => {
                let desired = self.desired.clone().with_layer(contents.layer);
                // A rejected change is tried again, because another source may have
                // changed.
                if desired.is_same(&self.desired) && self.reporting.health.is_accepted() {
                    span.set(attributes::RESULT, "unchanged");
                    return;
                }
                self.apply_or_retry(&source, desired).await
            }
        };
        match &applied {
            Ok(()) => {
                span.set(attributes::RESULT, trace::ACCEPTED);
                self.serve();
            }
            Err(rejected) => trace::reject(&span, rejected),
        }
        self.report_reload(source.name(), applied);
    }

    /// Applies a change. If it fails because images cannot be pulled, the change of
    /// `source` is applied as soon as they can.
    async fn apply_or_retry(
        &mut self,
        source: &Arc<dyn ObjectSource>,
        desired: DesiredState,
    ) -> Result<(), RejectedChange> {
        self.planning.pulls.forget();
        let mut applied = self.apply(desired.clone()).await;
        if let Err(RejectedChange::Plan(error)) = &mut applied {
            let unavailable = std::mem::take(&mut error.unavailable);
            if !unavailable.is_empty()
                && let Ok(admissible) = self.settle(&desired)
            {
                let plan = self.planning.planner(admissible.in_force);
                let plan = move || plan().map(drop);
                self.planning.pulls.failed(source, unavailable, plan);
            }
        }
        applied
    }

    /// Stages and commits a change.
    ///
    /// # Errors
    /// See [`RejectedChange`]; nothing has changed then.
    pub(super) async fn apply(&mut self, desired: DesiredState) -> Result<(), RejectedChange> {
        let staged = self.stage(&desired).await?;
        self.commit(desired, staged).await
    }
}
