//! The host in process, for tests: the parts of [`run`](super::run) with objects,
//! connections and the log in memory.
//!
//! Left out is what needs a process of its own: ports, the admin API, the socket in the
//! data folder, files that are watched, signals and limits of the process.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, bail};
use clap::Parser;
use futures::stream::{self, BoxStream, StreamExt};
use galleria_manifest::AllowUnenforced;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::api_store::ApiStore;
use super::control::Control;
use super::source::{Contents, Layer, ObjectSource};
use super::{Host, Telemetry, listeners};
use crate::guest::Engine;
use crate::listen::testing::{MemoryPorts, room};
use crate::settings::RunSettings;
use crate::status::{HostStatus, serve_port};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;
use crate::tls::Expiries;
use crate::writes::Writer;

/// Where the status port of a host in process listens, in memory.
const STATUS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 15_020);

/// Objects as YAML; `None` cannot be read.
pub(super) struct MemorySource {
    yaml: Mutex<Option<String>>,
    changed: Arc<Notify>,
}

impl MemorySource {
    pub(super) fn new(yaml: &str) -> Arc<Self> {
        Arc::new(Self {
            yaml: Mutex::new(Some(yaml.to_owned())),
            changed: Arc::default(),
        })
    }

    pub(super) fn set(&self, yaml: Option<&str>) {
        *self.yaml.lock() = yaml.map(str::to_owned);
        self.changed.notify_one();
    }
}

impl ObjectSource for MemorySource {
    fn name(&self) -> &'static str {
        "objects in memory"
    }

    fn read(&self) -> anyhow::Result<Contents> {
        let Some(yaml) = self.yaml.lock().clone() else {
            bail!("the memory is gone");
        };
        let read = galleria_manifest::read_str(Path::new("memory.yaml"), &yaml);
        Ok(Contents {
            layer: Layer::Base(read.objects),
            diagnostics: read.diagnostics,
        })
    }

    fn watch(&self) -> anyhow::Result<BoxStream<'static, ()>> {
        let changed = self.changed.clone();
        let changes = stream::unfold(changed, |changed| async move {
            changed.notified().await;
            Some(((), changed))
        });
        Ok(changes.boxed())
    }
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    settings: RunSettings,
}

/// The settings of `galleria run` with these arguments.
pub(super) fn settings<A: AsRef<str>>(data: &Path, arguments: &[A]) -> RunSettings {
    let program = ["galleria-run", "memory.yaml", "--data"].map(Into::into);
    let arguments = arguments.iter().map(|it| it.as_ref().into());
    let all = program.into_iter().chain([data.into()]).chain(arguments);
    Arguments::parse_from::<_, OsString>(all).settings
}

/// The engine of all hosts in this process: each reserves address space for thousands of
/// instances, and there is not enough for one per test.
pub(super) fn engine() -> Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE
        .get_or_init(|| Engine::new().expect("address space"))
        .clone()
}

/// A running host and the control loop that it follows.
pub(crate) struct HostInProcess {
    source: Arc<MemorySource>,
    ports: MemoryPorts,
    pub(crate) store: Arc<Store>,
    pub(crate) health: Arc<HostStatus>,
    pub(crate) metrics: Arc<Metrics>,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    _data: TempDir,
}

impl HostInProcess {
    /// Starts the objects of `yaml`, and waits until every pod is ready. `output`
    /// receives what the binary writes to standard output.
    ///
    /// # Errors
    /// The host cannot start.
    pub(crate) async fn start(
        yaml: &str,
        arguments: &[&str],
        output: impl io::Write + Send + 'static,
    ) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let settings = settings(data.path(), arguments);
        let host = Host::new(&settings, Telemetry::start(&settings)?.0, engine(), output)?;
        let source = MemorySource::new(yaml);
        let base = source.read()?;
        if base.has_errors() {
            bail!("the objects have errors: {:?}", base.diagnostics);
        }
        let api_store = Arc::new(ApiStore::open(
            data.path(),
            AllowUnenforced::default(),
            Arc::default(),
        )?);
        let (_, writes) = Writer::new();
        let ports = MemoryPorts::default();
        let listeners = listeners(&settings, room(), ports.clone());
        let mut control = host.control(&settings, listeners, source.clone(), api_store, writes);
        let prepared = control.prepare([base.layer]).await;
        if let Err(rejected) = prepared {
            bail!("rejected: {}", rejected.problems().join("\n"));
        }
        let changes = control.watch()?;
        host.open(&mut control);
        let stop = CancellationToken::new();
        let status = serve_port(
            ports.listen(STATUS),
            host.status_context(Expiries::default()),
            &room(),
            settings.client_timeouts(),
            stop.clone(),
        );
        tokio::spawn(status);
        let (ready, is_ready) = oneshot::channel();
        let (store, health) = (host.store.clone(), host.health.clone());
        let metrics = host.mesh.metrics.clone();
        let stopped = stop.clone().cancelled_owned();
        let running = tokio::spawn(async move {
            let ready = |_: &Control| ready.send(()).map_err(|()| anyhow::anyhow!("no test"));
            let followed = host
                .follow_until(&mut control, changes, ready, stopped)
                .await;
            host.close();
            followed
        });
        is_ready.await.context("the host ended")?;
        Ok(Self {
            source,
            ports,
            store,
            health,
            metrics,
            stop,
            running,
            _data: data,
        })
    }

    /// Replaces all objects. The control loop follows on its own.
    pub(crate) fn set(&self, yaml: &str) {
        self.source.set(Some(yaml));
    }

    /// A connection to the listener for the declared `port`.
    ///
    /// # Errors
    /// There is no such listener.
    pub(crate) async fn connect(&self, port: u16) -> anyhow::Result<DuplexStream> {
        let listeners = self.health.listeners();
        let listener = listeners.iter().find(|it| it.port == port);
        let listener = listener.with_context(|| format!("no listener for port {port}"))?;
        Ok(self.ports.connect(listener.address).await?)
    }

    /// A connection to the status port.
    ///
    /// # Errors
    /// The host has stopped.
    pub(crate) async fn connect_status(&self) -> io::Result<DuplexStream> {
        self.ports.connect(STATUS).await
    }

    /// Stops as after SIGTERM: requests in progress are finished.
    ///
    /// # Errors
    /// The control loop has failed.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.await?
    }
}
