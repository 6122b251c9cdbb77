//! The data of one instance's store, and the hook that sends its outgoing requests into the
//! mesh.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use galleria_mesh::AddressRules;
use tokio::sync::Semaphore;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

use super::cpu::CpuTurn;
use super::deadline::DeadlinePassed;
use super::filesystem::FileAccess;
use super::held::ResourceMeter;
use super::limits::{BODY_PIECE_MAX, FIELDS_BYTES_MAX, HANDLES_MAX, InstanceLimiter, RANDOM_MAX};
use super::outgoing::{CallFuture, OutgoingCall};
use super::output::{GuestEvents, LineStream, Serving, Stream};
use super::sql::SqlAccess;
use super::{Deadline, Failure, GuestSetup, WasiVersion};
use crate::context::RequestContext;
use crate::{Request, Response};

/// How many outgoing calls of one instance may wait for a response. A fan-out of a few dozen
/// is common; each is a task of the host, and the called services have queues of their own.
/// Further calls fail immediately (`connection-limit-reached`).
const CALLS_MAX: usize = 256;

/// The only way out of a guest: all of its calls go through this.
pub(crate) trait Outbound: Send + Sync {
    /// Sends a guest's request into the mesh, with the identity of the guest's workload.
    fn call(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<Response, Error>>;

    /// Locates a server that does not speak HTTP.
    ///
    /// # Errors
    /// Why the guest may not use the server, and how to allow it.
    fn server(&self, host: &str, port: u16) -> Result<Server, String>;
}

/// An external server, as a guest reaches it.
#[derive(Debug)]
pub(crate) struct Server {
    /// `namespace/name` of the calling workload.
    pub client: String,
    /// Tried in this order.
    pub targets: Vec<ServerTarget>,
}

/// An endpoint of an external server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ServerTarget {
    pub host: String,
    pub port: u16,
    /// Which of the host's addresses a connection may use.
    pub addresses: AddressRules,
}

/// An outgoing request of a guest.
pub(crate) struct Outgoing {
    pub request: Request,
    /// The request that the guest serves while it makes this one; `None` if it serves none.
    pub context: Option<Arc<RequestContext>>,
    /// How long the guest is willing to wait for the response head.
    pub timeout: Option<Duration>,
}

/// The data of one instance's store.
pub(super) struct GuestState {
    pub(super) table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    pub(super) hooks: Hooks,
    pub(super) config: WasiConfigVariables,
    pub(super) limiter: InstanceLimiter,
    pub(super) sql: SqlAccess,
    pub(super) files: FileAccess,
    pub(super) events: Arc<dyn GuestEvents>,
    pub(super) turn: CpuTurn,
    /// The deadline of the current request.
    pub(super) deadline: Deadline,
    held: ResourceMeter,
}

impl GuestState {
    pub(super) fn new(setup: &GuestSetup, deadline: Deadline) -> Result<Self, Failure> {
        let serving = Serving::default();
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let turn = CpuTurn::new(
            setup.cpu.clone(),
            setup.component.engine().compute_threads(),
        );
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        let mut config = WasiConfigVariables::new();
        for (name, value) in &setup.environment {
            config.insert(name, value);
        }
        Ok(Self {
            table,
            wasi: wasi(setup, &serving)?,
            http,
            hooks: Hooks::new(
                setup.outbound.clone(),
                setup.component.wasi_version(),
                serving,
                turn.clone(),
            ),
            config,
            limiter: InstanceLimiter::new(setup.memory.clone()),
            sql: SqlAccess::new(setup, deadline.clone()),
            files: FileAccess::new(setup),
            events: setup.events.clone(),
            turn,
            deadline,
            held: ResourceMeter::default(),
        })
    }

    /// Checks at every tick whether the guest may continue.
    ///
    /// # Errors
    /// Its deadline has passed, or the host keeps too much data for it.
    pub(super) fn may_run_on(&self) -> wasmtime::Result<()> {
        if self.deadline.has_passed() {
            return Err(DeadlinePassed.into());
        }
        self.held
            .reached()
            .map_or(Ok(()), |reached| Err(reached.into()))
    }

    /// Measures what the host keeps for the guest between two requests.
    pub(super) fn holds_too_much(&mut self) -> bool {
        self.held.look(&mut self.table, &mut self.limiter);
        self.held.reached().is_some()
    }
}

/// Environment, arguments, output and mounts. There are no sockets and no other files.
fn wasi(setup: &GuestSetup, serving: &Serving) -> Result<WasiCtx, Failure> {
    let mut builder = WasiCtx::builder();
    builder
        .envs(&setup.environment)
        .args(&setup.arguments)
        .stdout(LineStream::new(
            setup.events.clone(),
            serving.clone(),
            Stream::Stdout,
        ))
        .stderr(LineStream::new(
            setup.events.clone(),
            serving.clone(),
            Stream::Stderr,
        ))
        .max_random_size(RANDOM_MAX)
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false);
    if let Some(folder) = &setup.working_dir {
        builder.initial_cwd(folder);
    }
    for mount in &setup.mounts {
        let permissions = if mount.read_only {
            FsPerms::ReadOnly
        } else {
            FsPerms::ReadWrite
        };
        builder
            .preopened_dir(mount.path(), &mount.guest_path, permissions)
            .map_err(|error| {
                let path = mount.host_path.display();
                Failure::Start(
                    format!("cannot mount {path} at {}: {error}", mount.guest_path).into(),
                )
            })?;
    }
    Ok(builder.build())
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.held.called(&mut self.table, &mut self.limiter);
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// The requests that an instance serves, and the target of its outgoing requests.
pub(super) struct Hooks {
    outbound: Arc<dyn Outbound>,
    /// Attributes the output.
    printing: Serving,
    /// The request that makes the current call of the host.
    pub(super) context: Option<Arc<RequestContext>>,
    /// A permit for each outgoing call that waits for its response.
    calls: Arc<Semaphore>,
    /// Whether the guest's task can drive a call. wasmtime polls the calls of WASI 0.3 inside
    /// the instance, where other guests must not run.
    drives: bool,
    turn: CpuTurn,
    /// The requests of an instance that serves several, by their tasks, while they are in
    /// progress.
    tasks: HashMap<GuestTaskId, Weak<RequestContext>>,
}

impl Hooks {
    fn new(
        outbound: Arc<dyn Outbound>,
        wasi_version: WasiVersion,
        printing: Serving,
        turn: CpuTurn,
    ) -> Self {
        Self {
            outbound,
            printing,
            context: None,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            drives: wasi_version == WasiVersion::P2,
            turn,
            tasks: HashMap::new(),
        }
    }

    /// The request that makes the current call of the host; `None` if the guest calls outside
    /// of a request.
    pub(super) fn serving(&self) -> Option<&RequestContext> {
        self.context.as_deref()
    }

    /// Attributes everything that the guest does from now on to the request of `context`.
    pub(super) fn serve(&mut self, context: Option<Arc<RequestContext>>) {
        let trace = context.as_ref().map(|context| context.trace.trace_id);
        self.printing.set(trace);
        self.context = context;
    }

    /// Begins a call into the mesh.
    pub(super) fn call(&self, request: Request, timeout: Option<Duration>) -> OutgoingCall {
        let future = self.call_future(request, timeout);
        let driven = self.turn.driven_call();
        // The called guest runs on the serving threads, even if this one runs on a compute
        // thread.
        match self.drives && !self.turn.computes() {
            true => driven.drive(future),
            false => driven.spawn(future),
        }
    }

    fn call_future(&self, request: Request, timeout: Option<Duration>) -> CallFuture {
        let Ok(permit) = self.calls.clone().try_acquire_owned() else {
            return Box::pin(async { Err(Error::ConnectionLimitReached) });
        };
        let call = self.outbound.call(Outgoing {
            request,
            context: self.context.clone(),
            timeout,
        });
        Box::pin(async move {
            let response = call.await?;
            drop(permit);
            Ok(response)
        })
    }

    /// Records that `task` serves the request of `context`.
    pub(super) fn begin(&mut self, task: GuestTaskId, context: &Arc<RequestContext>) {
        if self.tasks.len() == self.tasks.capacity() {
            self.tasks.retain(|_, context| context.strong_count() > 0);
        }
        self.tasks.insert(task, Arc::downgrade(context));
    }

    /// The request that `task` serves, if it is still in progress.
    pub(super) fn of_task(&self, task: GuestTaskId) -> Option<Arc<RequestContext>> {
        self.tasks.get(&task)?.upgrade()
    }
}

/// Shared, because wasmtime asks for it at every list of headers.
static FORBIDDEN_HEADERS: LazyLock<ForbiddenHeaderFilter> =
    LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));

impl WasiHttpHooks for Hooks {
    /// The mesh sets `host`; the others are hop-by-hop headers.
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        FORBIDDEN_HEADERS.clone()
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_MAX
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_PIECE_MAX
    }

    fn default_scheme(&mut self) -> Option<http::uri::Scheme> {
        Some(http::uri::Scheme::HTTP)
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = SendResult> + Send> {
        let timeout = options.and_then(|options| options.first_byte_timeout);
        let call = self.call_future(request, timeout);
        let call = self.turn.driven_call().spawn_task(call);
        Box::new(async move {
            let response = call.await?;
            let nothing_more: RequestProcessed = Box::new(async { Ok(()) });
            Ok((response, nothing_more))
        })
    }
}

type RequestProcessed = Box<dyn Future<Output = Result<(), Error>> + Send>;
type SendResult = Result<(http::Response<WasiBody>, RequestProcessed), Error>;
