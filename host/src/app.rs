//! Composition: creates all parts of the host in order, and shuts them down in reverse
//! order. Contains no logic of its own.

mod announce;
mod api_store;
mod autoscale;
mod canary;
mod claims;
mod cluster;
mod conditions;
mod control;
mod desired;
mod ports;
mod pulls;
mod source;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use galleria_mesh as mesh;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::active_config::{ActiveConfig, ConfigHandle};
use crate::admin;
use crate::call::{KeySets, Mesh, NO_SHARED_AUTHORITY, NetworkDenials, Overload, PeerRefusals};
use crate::canary::Canaries;
use crate::encryption::{Encryption, NOT_ENCRYPTED};
use crate::files::Files;
use crate::guest::{Cache, Databases, Engine, NodeMemory, guest_memory_default};
use crate::identity::Identities;
use crate::listen::{Bind, Budget, Capacities, Listeners, Room, TcpPorts};
use crate::outbound::OutboundCalls;
use crate::remote::RemoteClient;
use crate::settings::RunSettings;
use crate::settings::telemetry::{AccessLogFormat, Switch, TraceProtocol};
use crate::status::{HostStatus, MetricsContext};
use crate::store::{Recorder, Store};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::sink::Sink;
use crate::telemetry::trace::control::{ControlSpan, ControlTraces, control_span};
use crate::telemetry::trace::spans;
use crate::telemetry::trace::{TraceExport, Tracer};
use crate::terminal::eprint;
use crate::tls::{Expiries, GatewayFiles};
use crate::topology::{Peers, Topology, Trust};
use crate::workload::{ImagePolicies, Images, Jobs, Platform, VolumeFolder, Workloads};
use crate::writes::{Write, Writer};
use announce::Addresses;
use api_store::ApiStore;
use autoscale::Autoscalers;
use cluster::Node;
use control::{
    Control, Controllers, DataPlane, Planning, RejectedChange, ReportedCertificates, Reporting,
    SourceChanges,
};
use desired::DesiredState;
use ports::Ports;
use pulls::Pulls;
use source::{Contents, ObjectSource};

/// The longest shutdown of listeners and pods: longer than any sensible grace period.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Runs the host until it receives a signal to stop.
///
/// # Errors
/// The host cannot start; nothing is left running then.
pub(crate) async fn run(
    settings: RunSettings,
    control_traces: ControlTraces,
) -> anyhow::Result<ExitCode> {
    let (telemetry, traces) = Telemetry::start(&settings)?;
    if traces.is_some() {
        control_traces.export(&telemetry.tracer);
    }
    let ended = start_and_follow(&settings, telemetry).await;
    if let Some(traces) = traces {
        traces.close().await;
    }
    ended?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Starts the host, follows changes until a signal to stop, and stops everything but the
/// export of traces.
async fn start_and_follow(settings: &RunSettings, telemetry: Telemetry) -> anyhow::Result<()> {
    let began = Instant::now();
    let span = control_span!(spans::START);
    let started = start(settings, telemetry).instrument(span.clone()).await;
    let RunningHost {
        host,
        mut control,
        changes,
        addresses,
        stop,
        admin_threads: _admin_threads,
        audit,
    } = started.inspect_err(|error| span.fail("NotStarted", error))?;
    let stop_signal = stop_signal()?;
    let announce = move |control: &Control| {
        // The span ends here.
        let took = began.elapsed();
        span.in_scope(|| announce::ready(control, settings, addresses, took))
    };
    let followed = host
        .follow_until(&mut control, changes, announce, stop_signal)
        .await;
    // Ends the spans of rollouts.
    drop(control);
    stop.cancel();
    host.close();
    if let Some(audit) = audit {
        audit.close();
    }
    followed
}

/// A host that listens.
struct RunningHost {
    host: Host,
    control: Control,
    changes: SourceChanges,
    addresses: Addresses,
    /// Ends the status and admin ports.
    stop: CancellationToken,
    admin_threads: admin::Threads,
    audit: Option<Arc<admin::Audit>>,
}

async fn start(settings: &RunSettings, telemetry: Telemetry) -> anyhow::Result<RunningHost> {
    forbid_core_dumps();
    let descriptors = Budget::raise();
    let client_connections = settings.listen.client_connections.map(|max| max as usize);
    let capacities = Capacities::of(descriptors, client_connections);
    let encryption = open_encryption(settings).await?;
    let allowed = settings.security.allowed();
    let files = Files::new(settings.paths.clone(), allowed.clone(), encryption.clone())
        .strict(settings.security.strict)
        .gateway_in(settings.topology.gateways.gateway_namespace.as_deref());
    let reading = control_span!(spans::READ);
    let manifests = reading.in_scope(|| read_whole(&files));
    let manifests = manifests.inspect_err(|error| reading.fail("InvalidObjects", error))?;
    drop(reading);
    let dropped = telemetry.metrics.audit_dropped.clone();
    let audit = admin::Audit::open(&settings.audit, dropped)?.map(Arc::new);
    let ports = Ports::bind(settings).await?;
    let addresses = ports.addresses()?;
    let host = Host::new(settings, telemetry, Engine::new()?, io::stdout())?;
    let api_store = Arc::new(ApiStore::open(&settings.data.folder, allowed, encryption)?);
    let written = read_whole(&*api_store)?;
    let (writer, writes) = Writer::new();
    let files = files.excluding(&settings.data.folder);
    let listeners = listeners(settings, Room::new(capacities.traffic), TcpPorts);
    let mut control = host.control(settings, listeners, Arc::new(files), api_store, writes);
    control
        .prepare([manifests.layer, written.layer])
        .await
        .map_err(|rejected| describe(&rejected))?;
    let changes = control.watch()?;

    let stop = CancellationToken::new();
    host.open(&mut control);
    let admin_threads = ports.serve(&host, settings, &capacities, writer, audit.clone(), &stop)?;
    Ok(RunningHost {
        host,
        control,
        changes,
        addresses,
        stop,
        admin_threads,
        audit,
    })
}

/// The keys of the settings, with a warning if others can reach a host without any.
async fn open_encryption(settings: &RunSettings) -> anyhow::Result<Arc<Encryption>> {
    let keys = settings.encryption.clone();
    let opened = tokio::task::spawn_blocking(move || Encryption::open(&keys)).await?;
    let encryption = Arc::new(opened?);
    if settings.listen.is_exposed() && !encryption.protects_secrets() {
        tracing::warn!("{NOT_ENCRYPTED}");
    }
    Ok(encryption)
}

/// Reads a source and shows the problems of its objects.
///
/// # Errors
/// The objects have errors.
fn read_whole(source: &dyn ObjectSource) -> anyhow::Result<Contents> {
    let contents = source.read()?;
    for diagnostic in &contents.diagnostics {
        if diagnostic.severity > galleria_manifest::Severity::Note {
            eprint(&diagnostic.to_string());
        }
    }
    if contents.has_errors() {
        anyhow::bail!("the {} have errors; nothing was started", source.name());
    }
    Ok(contents)
}

/// The parts of telemetry that start before everything else.
struct Telemetry {
    metrics: Arc<Metrics>,
    tracer: Tracer,
}

impl Telemetry {
    /// The exporter is `None` if spans are not exported.
    fn start(settings: &RunSettings) -> anyhow::Result<(Self, Option<TraceExport>)> {
        let metrics = Arc::new(Metrics::new());
        let traces = settings.telemetry.traces();
        let results = &metrics.trace_spans;
        let (tracer, export) = match traces.export {
            TraceProtocol::Off => {
                let dropped = results.with_label_values(&["dropped"]);
                (Tracer::off(traces.ratio, dropped), None)
            }
            _ => {
                let (tracer, export) = TraceExport::start(&traces, results)?;
                (tracer, Some(export))
            }
        };
        Ok((Self { metrics, tracer }, export))
    }
}

/// The parts that live as long as the process.
struct Host {
    mesh: Arc<Mesh>,
    state: Arc<mesh::State>,
    health: Arc<HostStatus>,
    store: Arc<Store>,
    sql: Arc<Databases>,
    sink: Sink,
    platform: Platform,
    volumes: VolumeFolder,
}

impl Host {
    /// `output` receives the access log and the lines of guests.
    fn new(
        settings: &RunSettings,
        telemetry: Telemetry,
        engine: Engine,
        output: impl io::Write + Send + 'static,
    ) -> anyhow::Result<Self> {
        let Telemetry { metrics, tracer } = telemetry;
        let cache = Cache::open(&settings.data.cache_folder())
            .context("cannot use the cache folder; choose another with --cache")?;
        let access_log = settings.telemetry.access_log_format();
        let sink = Sink::start(output, metrics.log_dropped.clone())?;
        let identities = open_identities(settings)?;
        let health = Arc::<HostStatus>::default();
        if settings.topology.has_other_hosts() && !identities.is_shared() {
            tracing::warn!("{NO_SHARED_AUTHORITY}");
            health.set_unproven(true);
        }
        let state = mesh::State::new(Instant::now());
        let options = settings.mesh_options();
        let empty = mesh::compile(&[], &[], &options, &state);
        let recorder = Arc::<Recorder>::default();
        let mesh = Arc::new(Mesh {
            current: ConfigHandle::new(ActiveConfig::new(empty.snapshot, Vec::new())),
            remote: RemoteClient::new(identities.clone()),
            overload: Overload::start(),
            metrics: metrics.clone(),
            counts_calls: settings.telemetry.metrics == Switch::On,
            access_log: AccessLog::new(sink.clone(), access_log),
            tracer,
            trust: Arc::new(Trust::new(settings.topology.trusted_peers())),
            identities,
            peer_refusals: PeerRefusals::new(&metrics.peer_refusals),
            network_denials: NetworkDenials::new(
                recorder.clone(),
                settings.topology.network_policy_deny,
            ),
            key_sets: KeySets::default(),
        });
        let outbound_factory = OutboundCalls::default();
        outbound_factory.connect(&mesh);
        let sql = Arc::<Databases>::default();
        let volumes = VolumeFolder::new(&settings.data.folder);
        volumes
            .remove_old_pods()
            .context("cannot remove pod files of an earlier run")?;
        let policies = ImagePolicies::read(&settings.image.policies()?)
            .context("cannot use --verify-images")?;
        let images = Images::new(
            engine,
            cache,
            settings.image.components.clone(),
            settings.image.registries()?,
            policies,
            settings.data.folder.join("images"),
            metrics.component_loads.clone(),
        );
        let platform = Platform {
            images: Arc::new(images),
            sql: sql.clone(),
            metrics,
            sink: sink.clone(),
            readable: access_log == AccessLogFormat::Readable,
            recorder,
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
            node: watch::Sender::default(),
            outbound_factory: Arc::new(outbound_factory),
        };
        Ok(Self {
            mesh,
            state,
            health,
            store: Arc::new(Store::of_this_run()),
            sql,
            sink,
            platform,
            volumes,
        })
    }

    /// The control loop of this host, which reads objects from `base` and `api_store`.
    fn control(
        &self,
        settings: &RunSettings,
        listeners: Listeners,
        base: Arc<dyn ObjectSource>,
        api_store: Arc<ApiStore>,
        writes: mpsc::Receiver<Write>,
    ) -> Control {
        let topology = Topology::of(&settings.topology, &settings.identity.trust);
        let recorder = self.platform.recorder.clone();
        Control {
            sources: vec![base, api_store.clone()],
            api_store,
            writes,
            allowed: settings.security.allowed(),
            strict: settings.security.strict,
            gateway_namespace: settings.topology.gateways.gateway_namespace.clone(),
            desired: DesiredState::default(),
            dangling: BTreeSet::new(),
            in_force: Vec::new(),
            planning: Planning {
                images: self.platform.images.clone(),
                volumes: self.volumes.clone(),
                pulls: Pulls::new(recorder.clone(), settings.guest.restart_backoff_initial),
                trust_domain: settings.identity.trust.trust_domain.clone(),
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
                listeners,
                topology,
                peers: Peers::new(self.mesh.trust.clone()),
                tls: Arc::default(),
                tls_files: GatewayFiles::default(),
            },
            certificates: ReportedCertificates::default(),
            reporting: Reporting {
                store: self.store.clone(),
                recorder,
                health: self.health.clone(),
                node: Node {
                    since: Timestamp::now(),
                    memory: self.platform.memory.limit(),
                },
                reported: None,
            },
        }
    }

    /// Accepts connections on the listeners that are bound.
    fn open(&self, control: &mut Control) {
        let store = self.store.clone();
        tokio::spawn(async move { store.log_changes().await });
        control.serve();
    }

    /// Follows `changes` until `stop`, then finishes what is in progress and stops every
    /// pod.
    ///
    /// # Errors
    /// The error of `ready`, which is called when every pod is ready for the first time.
    async fn follow_until(
        &self,
        control: &mut Control,
        changes: SourceChanges,
        ready: impl FnOnce(&Control) -> anyhow::Result<()>,
        stop: impl Future<Output = ()>,
    ) -> anyhow::Result<()> {
        let followed = tokio::select! {
            followed = control.follow(changes, ready) => followed.map(|never| match never {}),
            () = stop => Ok(()),
        };
        tracing::info!("stopping: finishing active requests first");
        self.sql.hurry();
        control.stop(DRAIN_MAX).await;
        self.sql.close().await;
        followed
    }

    /// Writes the lines that are left.
    fn close(self) {
        self.sink.close();
    }

    /// What the status port presents.
    fn status_context(&self, certificates: Expiries) -> MetricsContext {
        MetricsContext {
            health: self.health.clone(),
            mesh: self.mesh.clone(),
            state: self.state.clone(),
            sql: self.sql.clone(),
            certificates: Arc::new(certificates),
        }
    }
}

/// The listeners of the settings, of which none is bound.
fn listeners(settings: &RunSettings, room: Arc<Room>, ports: impl Bind) -> Listeners {
    Listeners::new(
        settings.listen.binding(),
        settings.listen.max_request_body,
        settings.client_timeouts(),
        room,
        ports,
    )
    .behind(settings.listen.proxies())
}

fn open_identities(settings: &RunSettings) -> anyhow::Result<Arc<Identities>> {
    Identities::open(&settings.identity)
        .context("cannot use the certificate authority of --ca-dir; nothing was started")
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
