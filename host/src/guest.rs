//! Runs guests: from a `.wasm` file to a response, or to an exit code.
//!
//! A [`Component`] is compiled once and cached on disk. A [`Guest`] is a component with the
//! environment, mounts and limits of one pod. An instance is one live store of a guest.
//! Whatever a guest does (trap, loop, allocate, stall, leak) ends at most its own instance and
//! gives its caller a [`Failure`]; the host and the other guests continue.
//!
//! There is no routing, no probing and no restarting here.

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
pub(crate) use component::{Component, ComponentError, Entry, WasiVersion};
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
pub(crate) use sql::{Databases, PodDatabases};
pub(crate) use state::{Outbound, Outgoing, Server, ServerTarget};

use galleria_manifest::model::Isolation;
use tokio_util::sync::CancellationToken;

use crate::context::RequestContext;
use crate::settings::guest::RequestLimits;
use crate::telemetry::metrics::PodMeters;
use crate::{Request, Response};
use concurrent::ConcurrentGuest;
use pool::Pool;

/// Everything from which a pod's instances are created.
#[derive(Clone)]
pub(crate) struct GuestSetup {
    pub component: Arc<Component>,
    pub environment: Vec<(String, String)>,
    pub arguments: Vec<String>,
    /// An absolute path.
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    /// `None`: WASI 0.3 guests are reused concurrently, WASI 0.2 guests get a new instance per
    /// request.
    pub isolation: Option<Isolation>,
    /// How many instances may exist at once. Default 64: more than two cores can use, and
    /// enough for instances that wait for other services.
    pub instances_max: usize,
    /// How many requests may wait for an instance. Default 256; further requests get 503 UO.
    pub queue_max: usize,
    pub memory: Arc<PodMemory>,
    pub meters: Arc<PodMeters>,
    /// The open files of all instances.
    pub open_files: Arc<OpenFiles>,
    pub cpu: Arc<PodCpu>,
    /// Ends all work of the instances.
    pub killed: CancellationToken,
    pub limits: RequestLimits,
    pub events: Arc<dyn GuestEvents>,
    pub outbound: Arc<dyn Outbound>,
    pub sql: Arc<PodDatabases>,
}

/// A folder of the host that is visible to the guest.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    pub host_path: std::path::PathBuf,
    /// `host_path` or one of its parents, which guests cannot replace by a link.
    pub volume: std::path::PathBuf,
    /// The open folder, if guests could have placed a link in its path since.
    pub opened: Option<Arc<std::os::fd::OwnedFd>>,
    /// The folder of the volume's databases, outside of the volume, because a guest must not
    /// write files that SQLite trusts. Absolute and without links; `None` if there are none.
    pub databases: Option<std::path::PathBuf>,
    /// An absolute path inside the guest.
    pub guest_path: String,
    pub read_only: bool,
    /// The limit on writes; `None` if the guest cannot write.
    pub quota: Option<Arc<VolumeQuota>>,
}

impl Mount {
    /// A mount of a folder that no guest can replace.
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

    /// A path to the folder that stays valid when the folder is renamed.
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

/// The guest of one pod. It serves requests until it is dropped.
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
        let wasi_version = setup.component.wasi_version();
        let serving = match (wasi_version, setup.isolation) {
            (WasiVersion::P3, isolation) => {
                Serving::Concurrent(ConcurrentGuest::new(setup.clone(), isolation))
            }
            (WasiVersion::P2, isolation) => Serving::Exclusive(Arc::new(Pool::new(
                setup.clone(),
                isolation.unwrap_or(Isolation::Request),
            ))),
        };
        Self { serving, setup }
    }

    pub(crate) fn has_environment(&self, environment: &[(String, String)]) -> bool {
        self.setup.environment == environment
    }

    /// The same guest with another environment for its instances.
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

    /// Creates one instance, so that a component that cannot start is detected before there is
    /// traffic. If the first request comes soon, it finds a warm instance.
    ///
    /// # Errors
    /// The component's start function failed, or its imports are not available.
    pub(crate) async fn warm_up(&self) -> Result<(), Failure> {
        match &self.serving {
            Serving::Exclusive(pool) => pool.warm_up().await,
            Serving::Concurrent(guest) => guest.warm_up().await,
        }
    }

    /// Serves one request. The response's body streams from the guest while it is read;
    /// dropping it cancels the guest's work.
    ///
    /// # Errors
    /// The guest returned no response head; see [`Failure`].
    pub(crate) async fn serve(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        // A future is as large as its largest part, and moved with each caller that awaits it:
        // the larger part is boxed.
        let served = async {
            match &self.serving {
                Serving::Exclusive(pool) => pool::serve(pool, request, context).await,
                Serving::Concurrent(guest) => Box::pin(guest.serve(request, context)).await,
            }
        };
        self.until_killed(served).await
    }

    /// Like [`Guest::serve`], but bypasses the queue: a probe never waits for traffic.
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
                Serving::Concurrent(guest) => Box::pin(guest.serve_probe(request, context)).await,
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

    /// Fails all requests in progress, including their response bodies.
    pub(crate) fn kill(&self) {
        self.setup.killed.cancel();
    }

    /// Drops instances that were not needed since the last call; a guest without requests
    /// keeps none.
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
