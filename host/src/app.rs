//! Composition: creates all parts of the host in order, and shuts them down in reverse
//! order. Contains no logic of its own.

mod announce;
mod api_store;
mod autoscale;
mod canary;
mod cluster;
mod conditions;
mod control;
mod desired;
mod ports;
mod pulls;
mod source;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use galleria_mesh as mesh;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::active_config::{ActiveConfig, ConfigHandle};
use crate::call::{Mesh, Overload};
use crate::canary::Canaries;
use crate::files::Files;
use crate::guest::{Cache, Databases, Engine, NodeMemory, guest_memory_default};
use crate::listen::{Budget, Capacities, Listeners, Room};
use crate::outbound::OutboundCalls;
use crate::remote::RemoteClient;
use crate::settings::RunSettings;
use crate::settings::telemetry::{AccessLogFormat, Switch, TraceProtocol, TraceSettings};
use crate::status::HostStatus;
use crate::store::Store;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;
use crate::telemetry::trace::{TraceExport, Tracer};
use crate::terminal::eprint;
use crate::topology::{Peers, Topology, Trust};
use crate::workload::{Images, Jobs, Platform, VolumeFolder, Workloads};
use crate::writes::{Write, Writer};
use api_store::ApiStore;
use autoscale::Autoscalers;
use cluster::Node;
use control::{Control, Controllers, DataPlane, Planning, RejectedChange, Reporting};
use desired::Desired;
use ports::Ports;
use pulls::Pulls;
use source::{Contents, ObjectSource};

/// The longest shutdown of listeners and pods: longer than any sensible grace period.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Runs the host until it receives a signal to stop.
///
/// # Errors
/// The host cannot start; nothing is left running then.
pub(crate) async fn run(settings: RunSettings) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    forbid_core_dumps();
    let descriptors = Budget::raise();
    let client_connections = settings.listen.client_connections.map(|max| max as usize);
    let capacities = Capacities::of(descriptors, client_connections);
    let files = Files::new(settings.paths.clone());
    let manifests = read_manifests(&files)?;
    let ports = Ports::bind(&settings).await?;
    let addresses = ports.addresses()?;
    let host = Host::new(&settings)?;
    let api_store = Arc::new(ApiStore::open(&settings.data.folder)?);
    let written = ObjectSource::read(&*api_store)?;
    let (writer, writes) = Writer::new();
    let files = files.excluding(&settings.data.folder);
    let room = Room::new(capacities.traffic);
    let mut control = host.control(&settings, room, Arc::new(files), api_store, writes);
    control
        .prepare([manifests.layer, written.layer])
        .await
        .map_err(|rejected| describe(&rejected))?;
    let changes = control.watch()?;

    let stop = CancellationToken::new();
    let store = host.store.clone();
    tokio::spawn(async move { store.log_changes().await });
    control.serve();
    let _admin_threads = ports.serve(&host, &settings, &capacities, writer, &stop)?;
    let stop_signal = stop_signal()?;
    let announce =
        |control: &Control| announce::ready(control, &settings, addresses, began.elapsed());
    let followed = tokio::select! {
        followed = control.follow(changes, announce) => followed.map(|never| match never {}),
        () = stop_signal => Ok(()),
    };
    tracing::info!("stopping: finishing active requests first");
    host.sql.hurry();
    control.stop(DRAIN_MAX).await;
    host.sql.close().await;
    stop.cancel();
    if let Some(traces) = host.traces {
        traces.close().await;
    }
    host.sink.close();
    tracing::info!("stopped");
    followed.map(|()| ExitCode::SUCCESS)
}

/// Reads the manifests and shows their problems.
///
/// # Errors
/// The manifests have errors.
fn read_manifests(files: &Files) -> anyhow::Result<Contents> {
    let manifests = ObjectSource::read(files)?;
    for diagnostic in &manifests.diagnostics {
        if diagnostic.severity > galleria_manifest::Severity::Note {
            eprint(&diagnostic.to_string());
        }
    }
    if manifests.has_errors() {
        anyhow::bail!("the manifests have errors; nothing was started");
    }
    Ok(manifests)
}

/// The tracer of the settings, and its exporter.
fn tracer(
    traces: &TraceSettings,
    metrics: &Metrics,
) -> anyhow::Result<(Tracer, Option<TraceExport>)> {
    let results = &metrics.trace_spans;
    if traces.export == TraceProtocol::Off {
        let dropped = results.with_label_values(&["dropped"]);
        return Ok((Tracer::off(traces.ratio, dropped), None));
    }
    let (tracer, export) = TraceExport::start(traces, results)?;
    Ok((tracer, Some(export)))
}

/// The parts that live as long as the process.
struct Host {
    mesh: Arc<Mesh>,
    state: Arc<mesh::State>,
    health: Arc<HostStatus>,
    store: Arc<Store>,
    sql: Arc<Databases>,
    sink: Sink,
    /// `None` if spans are not exported.
    traces: Option<TraceExport>,
    platform: Platform,
    volumes: VolumeFolder,
}

impl Host {
    fn new(settings: &RunSettings) -> anyhow::Result<Self> {
        let metrics = Arc::new(Metrics::new());
        let (tracer, traces) = tracer(&settings.telemetry.traces(), &metrics)?;
        let engine = Engine::new()?;
        let folder = settings.data.cache_folder();
        let cache = Cache::open(&folder)
            .context("cannot use the cache folder; choose another with --cache")?;
        let access_log = settings.telemetry.access_log_format();
        let sink = Sink::start(std::io::stdout(), metrics.log_dropped.clone())?;
        let state = mesh::State::new(Instant::now());
        let options = settings.mesh_options();
        let empty = mesh::compile(&[], &[], &options, &state);
        let mesh = Arc::new(Mesh {
            current: ConfigHandle::new(ActiveConfig::new(empty.snapshot, Vec::new())),
            remote: RemoteClient::default(),
            overload: Overload::start(),
            metrics: metrics.clone(),
            counts_calls: settings.telemetry.metrics == Switch::On,
            access_log: AccessLog::new(sink.clone(), access_log),
            tracer,
            trust: Arc::new(Trust::new(settings.topology.trusted_peers())),
        });
        let outbound_factory = OutboundCalls::default();
        outbound_factory.connect(&mesh);
        let sql = Arc::<Databases>::default();
        let volumes = VolumeFolder::new(&settings.data.folder);
        volumes
            .remove_old_pods()
            .context("cannot remove pod files of an earlier run")?;
        let images = Images::new(
            engine.clone(),
            cache,
            settings.image.components.clone(),
            settings.image.registries()?,
            settings.data.folder.join("images"),
            metrics.component_loads.clone(),
        );
        let platform = Platform {
            images: Arc::new(images),
            sql: sql.clone(),
            metrics,
            sink: sink.clone(),
            readable: access_log == AccessLogFormat::Readable,
            recorder: Arc::default(),
            logs: Arc::default(),
            limits: settings.guest.request_limits(),
            memory: NodeMemory::new(
                settings
                    .guest
                    .guest_memory
                    .unwrap_or_else(guest_memory_default),
            ),
            restart_backoff_initial: settings.guest.restart_backoff_initial,
            volumes: volumes.clone(),
            outbound_factory: Arc::new(outbound_factory),
        };
        Ok(Self {
            mesh,
            state,
            health: Arc::default(),
            store: Arc::new(Store::of_this_run()),
            sql,
            sink,
            traces,
            platform,
            volumes,
        })
    }

    /// The control loop of this host, which reads objects from `base` and `api_store`.
    fn control(
        &self,
        settings: &RunSettings,
        room: Arc<Room>,
        base: Arc<dyn ObjectSource>,
        api_store: Arc<ApiStore>,
        writes: mpsc::Receiver<Write>,
    ) -> Control {
        let topology = Topology::of(&settings.topology);
        let recorder = self.platform.recorder.clone();
        Control {
            sources: vec![base, api_store.clone()],
            api_store,
            writes,
            desired: Desired::default(),
            in_force: Vec::new(),
            planning: Planning {
                images: self.platform.images.clone(),
                volumes: self.volumes.clone(),
                pulls: Pulls::new(recorder.clone(), settings.guest.restart_backoff_initial),
            },
            controllers: Controllers {
                workloads: Workloads::new(self.platform.clone()),
                jobs: Jobs::new(
                    self.platform.clone(),
                    self.store.clone(),
                    self.health.jobs.clone(),
                    &settings.data.folder,
                ),
                autoscalers: Autoscalers::default(),
                autoscale_interval: settings.guest.horizontal_pod_autoscaler_sync_period,
                canaries: Canaries::default(),
            },
            data_plane: DataPlane {
                mesh: self.mesh.clone(),
                state: self.state.clone(),
                options: mesh::Options {
                    gateway: topology.gateway,
                    ..settings.mesh_options()
                },
                listeners: Listeners::new(
                    settings.listen.binding(),
                    settings.listen.max_request_body,
                    settings.client_timeouts(),
                    room,
                ),
                topology,
                peers: Peers::new(self.mesh.trust.clone()),
            },
            reporting: Reporting {
                store: self.store.clone(),
                recorder,
                health: self.health.clone(),
                node: Node {
                    since: Timestamp::now(),
                    memory: self.platform.memory.limit(),
                },
            },
        }
    }
}

/// A core dump would contain every Secret.
fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot disable core dumps of this process");
    }
}

/// Completes on SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn describe(rejected: &RejectedChange) -> anyhow::Error {
    for problem in rejected.problems() {
        eprint(&problem);
    }
    anyhow::anyhow!("nothing was started")
}
