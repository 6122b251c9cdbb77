//! WASI 0.3 guests: one instance serves several requests at once.
//!
//! wasmtime's handler runs the instances on its own tasks and has no back-pressure, so a
//! semaphore limits the number of requests. A request is identified by its component-model
//! task, so that an outgoing call finds its request even though instances are shared.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::FutureExt;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use wasmtime::component::{Accessor, GuestTaskId, HasData, Linker, Resource};
use wasmtime::{AsContextMut, Store, StoreContextMut};
use wasmtime_wasi::TrappableError;
use wasmtime_wasi_http::handler::{
    ExpirationError, HandlerState, InstantiationError, ProxyHandler, ShouldAccept,
    TrapOrPanicError, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::http::{client, types};
use wasmtime_wasi_http::{WasiBody, WasiHttp, WasiHttpCtxView, WasiHttpView, handler};

use super::cpu::take_turns_inside;
use super::growth::Growth;
use super::instance::{Instance, REQUESTS_MAX};
use super::kill::Kill;
use super::pace::{Pace, Paces, Side};
use super::pool::PoolStatus;
use super::state::GuestState;
use super::{Failure, GuestSetup, Isolation};
use crate::context::RequestContext;
use crate::telemetry::metrics::{PodMeters, RetirementReason};
use crate::{Request, Response};

/// How many requests one instance serves at once. More gain nothing on a few cores, and
/// increase the cost of a trap.
const CONCURRENT_MAX: usize = 64;

/// How long an instance without requests is kept.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// One pod's instances, behind wasmtime's handler.
pub(super) struct ConcurrentGuest {
    handler: ProxyHandler<Handler>,
    /// How many requests may be served or queued; further requests fail with `Overflow`.
    admitted: Arc<Semaphore>,
    admitted_max: usize,
    paces: Paces,
}

impl ConcurrentGuest {
    pub(super) fn new(setup: Arc<GuestSetup>, isolation: Option<Isolation>) -> Self {
        let per_instance = match isolation {
            None => CONCURRENT_MAX,
            Some(Isolation::Instance | Isolation::Request) => 1,
        };
        let admitted_max = setup.instances_max + setup.queue_max;
        let requests_max = match isolation {
            Some(Isolation::Request) => 1,
            None | Some(Isolation::Instance) => REQUESTS_MAX as usize,
        };
        Self {
            handler: ProxyHandler::new(Handler {
                setup,
                per_instance,
                requests_max,
                alive: Arc::default(),
                busy: Arc::default(),
            }),
            admitted: Arc::new(Semaphore::new(admitted_max)),
            admitted_max,
            paces: Paces::default(),
        }
    }

    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        self.handler.state().start().await?;
        let meters = &self.handler.state().setup.meters;
        meters.retired(RetirementReason::WarmUp, 1);
        Ok(())
    }

    pub(super) async fn serve(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let limit = self.handler.state().setup.limits.response;
        let deadline = Instant::now() + limit;
        let permit = self.permit()?;
        let response = self.handle(request, context.clone(), deadline).await?;
        Ok(response.map(|body| self.admitted(body, context, Some(permit))))
    }

    /// Like [`ConcurrentGuest::serve`], but bypasses the limit.
    pub(super) async fn serve_probe(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let deadline = Instant::now() + self.handler.state().setup.limits.response;
        let response = self.handle(request, context.clone(), deadline).await?;
        Ok(response.map(|body| self.admitted(body, context, None)))
    }

    /// A permit for a request. If there is none, the slowest reader loses its permit.
    fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let free = || self.admitted.clone().try_acquire_owned();
        free()
            .or_else(|_| {
                self.paces.oust_slowest();
                free()
            })
            .map_err(|_| Failure::Overflow)
    }

    async fn handle(
        &self,
        request: Request,
        context: Arc<RequestContext>,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let arrival = Arrival {
            context,
            at: Instant::now(),
        };
        match timeout_at(deadline.into(), self.handler.handle(arrival, request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(Failure::Deadline),
        }
    }

    fn admitted(
        &self,
        inner: WasiBody,
        context: Arc<RequestContext>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> WasiBody {
        let content = Arc::new(Mutex::new(Some(Content {
            body: inner,
            _context: context,
            _permit: permit,
        })));
        let pace = self.paces.add();
        pace.frees(Oust(content.clone()));
        PermitBody {
            content,
            kill: Kill::new(self.handler.state().setup.killed.clone()),
            pace,
        }
        .boxed_unsync()
    }

    pub(super) fn status(&self) -> PoolStatus {
        let alive = self.handler.state().alive.load(Ordering::Relaxed);
        let requests = self
            .admitted_max
            .saturating_sub(self.admitted.available_permits());
        let busy = self.handler.state().busy.load(Ordering::Relaxed).min(alive);
        PoolStatus {
            idle: alive - busy,
            busy,
            queued: requests.saturating_sub(busy * self.handler.state().per_instance),
        }
    }
}

fn failure(error: &wasmtime::Error) -> Failure {
    if let Some(start) = error.downcast_ref::<InstantiationError<Arrival>>() {
        Failure::Start(format!("{:?}", start.error).into())
    } else if error.downcast_ref::<ExpirationError>().is_some() {
        Failure::Deadline
    } else if error.downcast_ref::<TrapOrPanicError>().is_some() {
        Failure::Trap("another request on the same instance trapped".into())
    } else if let Some(code) = error.downcast_ref::<types::ErrorCode>() {
        Failure::NoResponse(code.to_string().into())
    } else {
        Failure::from_call(error)
    }
}

/// What wasmtime's handler calls to create an instance.
struct Handler {
    setup: Arc<GuestSetup>,
    per_instance: usize,
    requests_max: usize,
    alive: Arc<AtomicUsize>,
    /// How many instances have served a request.
    busy: Arc<AtomicUsize>,
}

/// A request that waits for an instance.
struct Arrival {
    context: Arc<RequestContext>,
    at: Instant,
}

impl Handler {
    async fn start(&self) -> Result<Box<Instance>, Failure> {
        let since = Instant::now();
        let instance = Instance::start(&self.setup).await?;
        self.setup.meters.started(since.elapsed());
        Ok(instance)
    }
}

impl HandlerState for Handler {
    type StoreData = GuestState;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(
        &self,
    ) -> wasmtime::Result<handler::Instance<GuestState, Expiration, Worker>> {
        let mut instance = *self.start().await?;
        take_turns_inside(&mut instance.store, note_request);
        self.alive.fetch_add(1, Ordering::Relaxed);
        let response = self.setup.limits.response;
        Ok(handler::Instance {
            store: instance.store,
            proxy: instance.proxy,
            view: view_http,
            expiration: Expiration {
                response,
                until: None,
                timer: Box::pin(tokio::time::sleep(IDLE_MAX)),
            },
            state: Worker {
                per_instance: self.per_instance,
                requests_max: self.requests_max,
                response,
                meters: self.setup.meters.clone(),
                killed: self.setup.killed.clone(),
                alive: self.alive.clone(),
                busy: self.busy.clone(),
                served: AtomicUsize::new(0),
                growth: Mutex::default(),
                grown: AtomicBool::new(false),
            },
        })
    }
}

fn view_http(state: &mut GuestState) -> WasiHttpCtxView<'_> {
    state.http()
}

/// The rules for one instance.
struct Worker {
    per_instance: usize,
    requests_max: usize,
    response: Duration,
    meters: Arc<PodMeters>,
    killed: CancellationToken,
    alive: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
    /// How many requests it has started. From the first one on, it is counted in `busy`.
    served: AtomicUsize,
    growth: Mutex<Growth>,
    /// It finishes its requests, but accepts no more.
    grown: AtomicBool,
}

impl WorkerState for Worker {
    type StoreData = GuestState;
    type RequestData = Arrival;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.requests_max || self.grown.load(Ordering::Relaxed) {
            ShouldAccept::Never
        } else if concurrent >= self.per_instance {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, GuestState>,
        arrival: Arrival,
        task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        let mut growth = self.growth.lock();
        if growth.is_too_much_shared(&mut store) {
            self.grown.store(true, Ordering::Relaxed);
        }
        drop(growth);
        let state = store.data_mut();
        let now = Instant::now();
        self.meters
            .waited(now.saturating_duration_since(arrival.at));
        state.hooks.begin(task, &arrival.context);
        state.deadline.set(now + self.response);
        if self.served.fetch_add(1, Ordering::Relaxed) == 0 {
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        Box::pin(tokio::time::sleep(self.response))
    }

    fn drop(&self, store: Store<GuestState>, result: Result<(), wasmtime::Error>) {
        let served = self.served.load(Ordering::Relaxed);
        self.meters.retired(self.why(served, result.is_ok()), 1);
        if let Err(error) = result {
            tracing::debug!(%error, "a concurrent instance ended");
        }
        self.busy.fetch_sub(served.min(1), Ordering::Relaxed);
        self.alive.fetch_sub(1, Ordering::Relaxed);
        drop(store);
    }
}

impl Worker {
    /// Why the instance is dropped after this many requests.
    fn why(&self, served: usize, well: bool) -> RetirementReason {
        match well {
            _ if self.killed.is_cancelled() => RetirementReason::Ended,
            false => RetirementReason::Failed,
            true if self.grown.load(Ordering::Relaxed) => RetirementReason::Grown,
            true if served < self.requests_max => RetirementReason::Idle,
            true if self.requests_max == 1 => RetirementReason::Request,
            true => RetirementReason::Spent,
        }
    }
}

/// Ends an instance if all of its requests are overdue, or if it was idle for too long.
struct Expiration {
    response: Duration,
    until: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl WorkerExpiration for Expiration {
    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        status: WorkerStatus,
        start: Instant,
    ) -> Poll<()> {
        let allowed = match status {
            WorkerStatus::Idle => IDLE_MAX,
            // Usually the request's own timer fires first; this one is for guests that block
            // it.
            WorkerStatus::Requests => self.response + Duration::from_secs(1),
            WorkerStatus::PostReturn => self.response,
        };
        let until = start + allowed;
        if self.until != Some(until) {
            self.until = Some(until);
            self.timer.as_mut().reset(until.into());
        }
        self.timer.poll_unpin(context)
    }
}

/// A response body that holds the permit of its request until it has been read, or until
/// another request needs the permit.
struct PermitBody {
    content: Arc<Mutex<Option<Content>>>,
    kill: Kill,
    pace: Arc<Pace>,
}

/// What a response holds until it has been read.
struct Content {
    body: WasiBody,
    /// The guest may still make outgoing calls for the request.
    _context: Arc<RequestContext>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// Takes the content of a response whose reader is ousted.
struct Oust(Arc<Mutex<Option<Content>>>);

impl Drop for Oust {
    fn drop(&mut self) {
        let content = self.0.lock().take();
        drop(content);
    }
}

impl http_body::Body for PermitBody {
    type Data = bytes::Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let terminated = Poll::Ready(Some(Err(wasmtime_wasi_http::Error::ConnectionTerminated)));
        self.pace.goes_on(Side::Reader);
        let polled = match &mut *self.content.lock() {
            Some(content) => Pin::new(&mut content.body).poll_frame(context),
            None => return terminated,
        };
        match polled {
            Poll::Pending => {
                ready!(self.kill.poll(context));
                terminated
            }
            Poll::Ready(frame) => {
                match frame {
                    // Until the reader asks for the next frame.
                    Some(Ok(_)) => self.pace.waits(Side::Reader),
                    _ => drop(self.content.lock().take()),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let content = self.content.lock();
        content.as_ref().is_some_and(|it| it.body.is_end_stream())
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let content = self.content.lock();
        content
            .as_ref()
            .map_or_else(Default::default, |it| it.body.size_hint())
    }
}

/// `wasi:http/client`, which first records the request that makes the call.
struct Client;

impl HasData for Client {
    type Data<'a> = WasiHttpCtxView<'a>;
}

impl client::HostWithStore<GuestState> for Client {
    async fn send(
        store: &Accessor<GuestState, Self>,
        request: Resource<types::Request>,
    ) -> Result<Resource<types::Response>, TrappableError<types::ErrorCode>> {
        store.with(|mut access| {
            note_request(&mut access.as_context_mut());
        });
        let store = store.with_getter::<WasiHttp>(view_http);
        <WasiHttp as client::HostWithStore<GuestState>>::send(&store, request).await
    }
}

/// Records which request makes the current call, so that its effects are attributed to it.
fn note_request(store: &mut StoreContextMut<'_, GuestState>) {
    let request = serving(store);
    store.data_mut().hooks.serve(request);
}

/// The request that makes the current call; `None` if the guest calls outside of a request.
fn serving(store: &mut StoreContextMut<'_, GuestState>) -> Option<Arc<RequestContext>> {
    let task = store.async_call_stack().ok()?.last()?;
    store.data().hooks.of_task(task)
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    client::add_to_linker::<_, Client>(linker, view_http)?;
    types::add_to_linker::<_, WasiHttp>(linker, view_http)
}
