//! Commands of the API: edits of objects, evictions of pods, orders for canaries.

use std::sync::Arc;

use galleria_manifest::model::ObjectKey;
use tracing::Instrument;

use super::{Control, Controllers, RejectedChange};
use crate::workload::PlanError;
use crate::writes::{Command, Edit, Write, WriteError};

impl Control {
    /// Carries out a command and replies with its result.
    pub(super) async fn write(&mut self, write: Write) {
        let Write {
            command,
            span,
            reply,
        } = write;
        let result = self.execute(command).instrument(span).await;
        // The client may have gone away meanwhile.
        let _ = reply.send(result);
    }

    async fn execute(&mut self, command: Command) -> Result<(), WriteError> {
        match command {
            Command::Edits { edits, dry_run } => self.edit(&edits, dry_run).await,
            Command::Canary(order) => self.order(&order).await,
            Command::Evict(pod) => self.evict(&pod),
            Command::EvictWithinBudgets { pod, dry_run } => {
                if let Some(budget) = self.controllers.workloads.forbidding_budget(&pod) {
                    return Err(WriteError::Disruption { budget });
                }
                match dry_run {
                    true => Ok(()),
                    false => self.evict(&pod),
                }
            }
        }
    }

    fn evict(&mut self, pod: &ObjectKey) -> Result<(), WriteError> {
        let Controllers {
            workloads, jobs, ..
        } = &mut self.controllers;
        match workloads.evict(pod) || jobs.evict(pod) {
            true => Ok(()),
            false => Err(WriteError::Changed),
        }
    }

    /// Applies edits together, or only checks them.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing has changed then.
    pub(in crate::app) async fn edit(
        &mut self,
        edits: &[Edit],
        dry_run: bool,
    ) -> Result<(), WriteError> {
        let mut desired = self.desired.clone();
        for Edit { key, from, to } in edits {
            let stored = self.reporting.store.get(key);
            let unchanged = match (&stored, from) {
                // Other changes read an object again that has defaults of its namespace.
                (Some(stored), Some(from)) => {
                    Arc::ptr_eq(&stored.object, from) || stored.object.raw == from.raw
                }
                (None, None) => true,
                _ => false,
            };
            if !unchanged {
                return Err(WriteError::Changed);
            }
            desired = desired.with(key, to.clone());
        }
        let staged = self.stage(&desired).await?;
        if dry_run {
            return Ok(());
        }
        self.commit(desired, staged).await?;
        self.serve();
        Ok(())
    }
}

impl From<RejectedChange> for WriteError {
    fn from(rejected: RejectedChange) -> Self {
        match rejected {
            RejectedChange::ApiStore(error) => Self::NotPersisted(error.to_string()),
            RejectedChange::Manifests(problems)
            | RejectedChange::Plan(PlanError { problems, .. }) => Self::Invalid(problems),
            rejected => Self::Impossible(rejected.problems().join("; ")),
        }
    }
}
