//! The setup of a pod's guest: the plan, with the facts about this pod.

use std::sync::Arc;

use galleria_manifest::model::PodTemplate;
use tokio_util::sync::CancellationToken;

use super::Platform;
use super::configuration::Configuration;
use super::environment;
use super::events::PodEvents;
use super::field::{Allocatable, PodFacts};
use super::plan::{MEMORY_DEFAULT, PodPlan};
use super::pod::Life;
use super::volumes::PodVolumes;
use crate::guest::{GuestSetup, OpenFiles, PodCpu, PodDatabases, PodMemory};
use crate::settings::guest::RequestLimits;
use crate::telemetry::metrics::PodMeters;

/// The facts about one pod that its guest can reference.
pub(super) struct PodIdentity<'a> {
    pub name: &'a str,
    pub address: &'a str,
    /// The template of the plan, with what the owner adds for this pod.
    pub template: &'a PodTemplate,
    pub life: &'a Arc<Life>,
}

/// The resource accounts and metrics of a pod. They outlive restarts of its guest.
#[derive(Clone)]
pub(super) struct PodAccount {
    pub memory: Arc<PodMemory>,
    pub cpu: Arc<PodCpu>,
    pub meters: Arc<PodMeters>,
    pub open_files: Arc<OpenFiles>,
}

/// Creates the setup of one pod, and its files. Blocks: do not call it from an
/// asynchronous task.
///
/// # Errors
/// References that cannot be resolved or volumes that cannot be created, without any
/// values.
pub(super) fn setup(
    plan: &Arc<PodPlan>,
    platform: &Platform,
    pod: &PodIdentity<'_>,
    configuration: &Configuration,
    volumes: &PodVolumes,
    account: &PodAccount,
) -> Result<GuestSetup, String> {
    let facts = pod.facts(plan, platform);
    let environment = variables(plan, configuration, &facts)?;
    let mounts = volumes.prepare(configuration, &facts, &environment)?;
    let events = PodEvents::new(
        plan.clone(),
        pod.name.to_owned(),
        account.meters.clone(),
        platform.sink.share(),
        platform.readable,
        pod.life.clone(),
    );
    let options = plan.options();
    let outbound = platform
        .outbound_factory
        .outbound(&plan.identity, pod.address);
    Ok(GuestSetup {
        component: plan.component.clone(),
        arguments: environment::arguments(&plan.container, &environment),
        environment,
        working_dir: plan.container.working_dir.clone(),
        sql: PodDatabases::new(
            platform.sql.clone(),
            plan.identity.clone(),
            outbound.clone(),
            mounts.clone(),
        ),
        mounts,
        isolation: options.isolation,
        instances_max: options.instances_max as usize,
        queue_max: options.queue_max as usize,
        memory: account.memory.clone(),
        meters: account.meters.clone(),
        open_files: account.open_files.clone(),
        cpu: account.cpu.clone(),
        killed: CancellationToken::new(),
        limits: RequestLimits {
            response: options.request_timeout.unwrap_or(platform.limits.response),
            ..platform.limits
        },
        events: Arc::new(events),
        outbound,
    })
}

/// The environment of the plan's container.
///
/// # Errors
/// As [`setup`].
pub(super) fn variables(
    plan: &PodPlan,
    configuration: &Configuration,
    facts: &PodFacts<'_>,
) -> Result<Vec<(String, String)>, String> {
    environment::resolve(&plan.container, configuration, facts).map_err(|errors| {
        let messages: Vec<_> = errors.into_iter().map(|error| error.message).collect();
        messages.join("; ")
    })
}

impl PodAccount {
    pub(super) fn new(plan: &PodPlan, platform: &Platform) -> Self {
        Self {
            memory: plan.memory(&platform.memory),
            cpu: PodCpu::new(plan.cpu_limit),
            meters: Arc::default(),
            open_files: OpenFiles::of_pod(),
        }
    }
}

impl PodIdentity<'_> {
    /// The facts that the pod can reference.
    pub(super) fn facts<'a>(&'a self, plan: &'a PodPlan, platform: &Platform) -> PodFacts<'a> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        PodFacts {
            name: self.name,
            uid: self.life.uid(),
            address: self.address,
            identity: &plan.identity,
            template: self.template,
            container: &plan.container,
            allocatable: Allocatable {
                cpu_millis: cores as u64 * 1000,
                memory: MEMORY_DEFAULT,
                ephemeral_storage: platform.volumes.capacity(),
            },
        }
    }
}
