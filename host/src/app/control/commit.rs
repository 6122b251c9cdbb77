//! Committing a staged change: makes it durable, then active.

use std::collections::HashMap;
use std::time::Instant;

use super::stage::StagedChange;
use super::{Control, RejectedChange, trace};
use crate::app::desired::DesiredState;
use crate::telemetry::trace::control::control_span;
use crate::telemetry::trace::spans;

impl Control {
    /// Puts a staged change in force.
    ///
    /// # Errors
    /// The objects from the API cannot be persisted; nothing has changed then.
    pub(super) async fn commit(
        &mut self,
        desired: DesiredState,
        staged: StagedChange,
    ) -> Result<(), RejectedChange> {
        let span = control_span!(spans::COMMIT);
        trace::step(span, self.put_in_force(desired, staged)).await
    }

    async fn put_in_force(
        &mut self,
        desired: DesiredState,
        staged: StagedChange,
    ) -> Result<(), RejectedChange> {
        tokio::task::block_in_place(|| self.api_store.save(desired.written()))?;
        for diagnostic in &staged.warnings {
            tracing::warn!("{diagnostic}");
        }
        self.report_waiting(&staged.waiting);
        let dangling = self.report_dangling(&staged);
        self.desired = desired;
        self.store_objects(&staged);
        self.report_conditions(&staged);
        let StagedChange {
            in_force,
            waiting,
            plan,
            tls,
            ..
        } = staged;
        self.in_force = in_force;
        self.use_certificates(tls);
        self.reporting.reported = None;
        let tallies = &self.data_plane.mesh.metrics.tallies;
        self.controllers
            .canaries
            .follow(&self.in_force, tallies, Instant::now());
        self.report_quotas();
        self.report_claims();
        self.report_load_balancers();
        let store = &self.reporting.store;
        self.controllers.workloads.apply(&plan, |key| {
            let stored = store.get(key);
            stored.map_or(0, |stored| stored.generation)
        });
        self.controllers.jobs.apply(&plan);
        let elsewhere = self.data_plane.topology.elsewhere(&self.in_force);
        self.data_plane.peers.follow(elsewhere).await;
        self.publish();
        self.report_written(&waiting, dangling);
        Ok(())
    }

    /// Makes the desired objects those of the store, as scaled by autoscalers where
    /// these decide.
    fn store_objects(&self, staged: &StagedChange) {
        let in_force = staged.in_force.iter().map(|it| (it.key(), it));
        let in_force: HashMap<_, _> = in_force.collect();
        let objects = self.desired.objects();
        let objects = objects.map(|(source, it)| (source, *in_force.get(&it.key()).unwrap_or(&it)));
        self.reporting.store.replace_all(objects);
    }
}
