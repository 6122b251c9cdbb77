//! A pod's container: its guest with environment and volumes, which follow changes of
//! ConfigMaps and Secrets while the pod runs.
//!
//! Files change in place, atomically. A changed environment applies to new instances: a
//! guest with the new environment replaces the previous guest, whose instances finish
//! their requests and are dropped.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::watch;

use super::Pod;
use super::supervisor::RunEnd;
use crate::guest::{Databases, Guest};
use crate::workload::Platform;
use crate::workload::configuration::Configuration;
use crate::workload::environment;
use crate::workload::guest_setup::{PodIdentity, setup, variables};

/// The reason of a pod whose environment or files cannot be created.
pub(super) const CONFIG_ERROR: &str = "CreateContainerConfigError";

impl Pod {
    /// A guest with `configuration`.
    pub(super) async fn make_guest(
        self: &Arc<Self>,
        platform: &Platform,
        configuration: Arc<Configuration>,
    ) -> Result<Guest, RunEnd> {
        self.volumes.empty_root(&platform.sql).await;
        let (pod, platform) = (self.clone(), platform.clone());
        let files = platform.volumes.files.clone();
        let made = files.run(move || {
            let (plan, identity) = (&pod.plan, pod.identity());
            let (volumes, account) = (&pod.volumes, &pod.account);
            setup(plan, &platform, &identity, &configuration, volumes, account)
        });
        let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
        made.map(Guest::new)
            .map_err(|message| RunEnd::at_once(CONFIG_ERROR, message))
    }

    /// Applies each of the `changes` of the ConfigMaps and Secrets that the pod refers to.
    pub(super) async fn follow_configuration(
        self: &Arc<Self>,
        platform: &Platform,
        mut changes: watch::Receiver<Arc<Configuration>>,
    ) -> Infallible {
        loop {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let configuration = changes.borrow_and_update().clone();
            let (pod, platform) = (self.clone(), platform.clone());
            let files = platform.volumes.files.clone();
            let refreshed = files.run(move || {
                let identity = pod.identity();
                let facts = identity.facts(&pod.plan, &platform);
                let changed = pod.volumes.refresh(&configuration, &facts)?;
                Ok((changed, variables(&pod.plan, &configuration, &facts)?))
            });
            let refreshed = refreshed
                .await
                .unwrap_or_else(|error| Err(error.to_string()));
            match refreshed {
                Ok((volumes, environment)) => {
                    for volume in volumes {
                        tracing::info!(pod = self.name, volume, "the files of a volume changed");
                    }
                    self.take_environment(environment).await;
                }
                Err(message) => {
                    tracing::warn!(pod = self.name, reason = CONFIG_ERROR, "{message}");
                }
            }
        }
    }

    /// Replaces the guest by one with `environment`, after an instance of it has started.
    async fn take_environment(&self, environment: Vec<(String, String)>) {
        let Some(guest) = self.guest.load_full() else {
            return;
        };
        if guest.has_environment(&environment) {
            return;
        }
        let arguments = environment::arguments(&self.plan.container, &environment);
        let changed = guest.with_environment(environment, arguments);
        match changed.warm_up().await {
            Ok(()) => {
                self.guest.store(Some(Arc::new(changed)));
                tracing::info!(pod = self.name, "new instances use the changed environment");
            }
            Err(failure) => {
                let reason = failure.reason();
                tracing::warn!(
                    pod = self.name,
                    reason,
                    "keeping the previous environment, since no instance starts with the changed one: {failure}"
                );
            }
        }
    }

    /// Removes the files that belong to the pod, after closing the databases in them.
    pub(super) async fn remove_files(&self, databases: &Databases) {
        self.volumes.remove(databases).await;
    }

    fn identity(&self) -> PodIdentity<'_> {
        PodIdentity {
            name: &self.name,
            address: &self.address,
            template: &self.plan.template,
            life: &self.life,
        }
    }
}
