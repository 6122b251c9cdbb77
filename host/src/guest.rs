//! Running guests: from a `.wasm` file to an answered request, or an exit code.
//!
//! A [`Component`] is compiled once (and cached on disk), a [`Guest`] is a
//! component with the environment, mounts and limits of one pod, and an
//! instance is one live store of it. The rule kept here: whatever a guest does
//! (trap, loop, allocate, stall, leak) costs it its own instance and gives its
//! caller a [`Failure`]; the host and its other guests go on.
//!
//! What it does not do: no routing, no probes, no restarts.

mod cache;
mod command;
mod component;
mod concurrent;
mod cpu;
mod deadline;
mod delivery;
mod engine;
mod failure;
mod filesystem;
mod growth;
mod held;
mod instance;
mod kill;
mod limits;
mod linker;
mod logging;
mod node_memory;
mod outgoing;
mod output;
mod pace;
mod pool;
mod sql;
mod state;

use std::sync::Arc;

pub(crate) use cache::Cache;
pub(crate) use command::run;
pub(crate) use component::FILE_MAX as COMPONENT_FILE_MAX;
pub(crate) use component::{Component, ComponentError, Entry, Generation};
pub(crate) use cpu::{PodCpu, Throttling};
pub(crate) use deadline::Deadline;
pub(crate) use delivery::Production;
pub(crate) use engine::Engine;
pub(crate) use failure::Failure;
pub(crate) use filesystem::{DiskFloor, OpenFiles, VolumeQuota};
pub(crate) use limits::PodMemory;
pub(crate) use node_memory::{NodeMemory, guest_memory_default};
pub(crate) use output::{GuestEvents, GuestLine, Origin};
pub(crate) use pace::LateBody;
pub(crate) use pool::PoolStatus;
pub(crate) use sql::Databases;
pub(crate) use state::{Outbound, Outgoing, Server};

use galleria_manifest::model::Isolation;
use galleria_mesh as mesh;
use tokio_util::sync::CancellationToken;

use crate::context::RequestContext;
use crate::settings::guest::RequestLimits;
use crate::telemetry::metrics::PodMeters;
use crate::{Request, Response};
use concurrent::ConcurrentGuest;
use pool::Pool;

/// Everything a pod's instances are made from.
#[derive(Clone)]
pub(crate) struct GuestSetup {
    /// Whose instances they are.
    pub workload: Arc<mesh::Workload>,
    pub component: Arc<Component>,
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
    /// Absolute.
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    /// None: WASI 0.3 guests are reused concurrently, WASI 0.2 guests get a
    /// fresh instance per request.
    pub isolation: Option<Isolation>,
    /// Instances that may exist at once. Default 64: more than two cores can
    /// use, and enough for instances that wait for other services.
    pub instances_max: usize,
    /// Requests that may wait for an instance. Default 256; over it: 503 UO.
    pub queue_max: usize,
    pub memory: Arc<PodMemory>,
    pub meters: Arc<PodMeters>,
    /// What its instances hold open together.
    pub open_files: Arc<OpenFiles>,
    pub cpu: Arc<PodCpu>,
    /// Ends what its instances still do.
    pub killed: CancellationToken,
    pub limits: RequestLimits,
    pub events: Arc<dyn GuestEvents>,
    pub outbound: Arc<dyn Outbound>,
    pub sql: Arc<Databases>,
}

/// A folder of the host that appears in the guest.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    pub host_path: std::path::PathBuf,
    /// The folder above, or the same, that guests cannot replace by a link.
    pub volume: std::path::PathBuf,
    /// The folder itself, where guests could have put a link on its path since.
    pub opened: Option<Arc<std::os::fd::OwnedFd>>,
    /// Where its databases lie, since no guest may write what SQLite trusts; absolute
    /// and without links. None: it has none.
    pub databases: Option<std::path::PathBuf>,
    /// Absolute, as the guest sees it.
    pub guest_path: String,
    pub read_only: bool,
    /// How much may be written; None where the guest writes nothing.
    pub quota: Option<Arc<VolumeQuota>>,
}

impl Mount {
    /// A folder that no guest can replace.
    pub(crate) fn new(host_path: &std::path::Path, guest_path: &str, read_only: bool) -> Self {
        Self {
            host_path: host_path.into(),
            volume: host_path.into(),
            opened: None,
            databases: None,
            guest_path: guest_path.into(),
            read_only,
            quota: None,
        }
    }

    /// A path that leads to the folder, whatever became of its name.
    fn path(&self) -> std::path::PathBuf {
        use std::os::fd::AsRawFd;
        match &self.opened {
            Some(opened) if cfg!(target_os = "linux") => {
                format!("/proc/self/fd/{}", opened.as_raw_fd()).into()
            }
            _ => self.host_path.clone(),
        }
    }
}

/// One pod's guest: answers requests until it is dropped.
pub(crate) struct Guest {
    serving: Serving,
    setup: Arc<GuestSetup>,
}

enum Serving {
    /// One request at a time per instance.
    Exclusive(Arc<Pool>),
    /// Many requests at a time per instance (WASI 0.3).
    Concurrent(ConcurrentGuest),
}

impl Guest {
    pub(crate) fn new(setup: GuestSetup) -> Self {
        let setup = Arc::new(setup);
        let generation = setup.component.generation();
        let serving = match (generation, setup.isolation) {
            (Generation::P3, isolation) => {
                Serving::Concurrent(ConcurrentGuest::new(setup.clone(), isolation))
            }
            (Generation::P2, isolation) => Serving::Exclusive(Arc::new(Pool::new(
                setup.clone(),
                isolation.unwrap_or(Isolation::Request),
            ))),
        };
        Self { serving, setup }
    }

    pub(crate) fn has_environment(&self, environment: &[(String, String)]) -> bool {
        self.setup.environment == environment
    }

    /// A guest like this one, whose instances get another environment.
    pub(crate) fn with_environment(
        &self,
        environment: Vec<(String, String)>,
        arguments: Vec<String>,
    ) -> Self {
        Self::new(GuestSetup {
            environment,
            arguments,
            ..GuestSetup::clone(&self.setup)
        })
    }

    /// Makes one instance now, so that a component that cannot start is found
    /// before traffic is, and the first request finds it warm.
    ///
    /// # Errors
    /// The component's own start function failed, or its imports cannot be met.
    pub(crate) async fn warm_up(&self) -> Result<(), Failure> {
        match &self.serving {
            Serving::Exclusive(pool) => pool.warm_up().await,
            Serving::Concurrent(guest) => guest.warm_up().await,
        }
    }

    /// Answers one request. The response's body streams from the guest as it
    /// is read; dropping it abandons the guest's work.
    ///
    /// # Errors
    /// The guest gave no response head; see [`Failure`].
    pub(crate) async fn serve(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let served = async {
            match &self.serving {
                Serving::Exclusive(pool) => pool::serve(pool, request, context).await,
                Serving::Concurrent(guest) => guest.serve(request, context).await,
            }
        };
        self.until_killed(served).await
    }

    /// Like [`Guest::serve`], past the queue: a probe never waits behind traffic.
    ///
    /// # Errors
    /// As [`Guest::serve`].
    pub(crate) async fn serve_probe(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let served = async {
            match &self.serving {
                Serving::Exclusive(pool) => pool::serve_probe(pool, request, context).await,
                Serving::Concurrent(guest) => guest.serve_probe(request, context).await,
            }
        };
        self.until_killed(served).await
    }

    async fn until_killed(
        &self,
        served: impl Future<Output = Result<Response, Failure>>,
    ) -> Result<Response, Failure> {
        let served = tokio::select! {
            biased;
            served = served => served,
            () = self.setup.killed.cancelled() => Err(Failure::Killed),
        };
        served.inspect_err(|failure| self.setup.events.failed(failure))
    }

    /// Ends every request that is under way, bodies included, with a failure.
    pub(crate) fn kill(&self) {
        self.setup.killed.cancel();
    }

    /// Lets go of instances that nobody needed since the last call.
    pub(crate) fn trim(&self) {
        if let Serving::Exclusive(pool) = &self.serving {
            pool.trim();
        }
    }

    pub(crate) fn status(&self) -> PoolStatus {
        match &self.serving {
            Serving::Exclusive(pool) => pool.status(),
            Serving::Concurrent(guest) => guest.status(),
        }
    }
}
