//! Instances that serve one request at a time, and the queue before them.
//!
//! A request is served on its caller's own task: the instance's future is
//! polled by whoever waits for the response, and goes on inside the response's
//! body. Nothing is spawned, so a call between two services stays on one core.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::FutureExt;
use opentelemetry::trace::SpanKind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};

use super::body::GuestBody;
use super::instance::Instance;
use super::kill::Kill;
use super::{Blueprint, Failure, Isolation};
use crate::context::RequestContext;
use crate::length::body_length;
use crate::telemetry::metrics::{PodMeters, Retired};
use crate::telemetry::trace::spans;
use crate::{Request, Response};

/// A guest's work on one request, which ends some time after its response began.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// The instances of one pod.
pub(super) struct Pool {
    blueprint: Arc<Blueprint>,
    isolation: Isolation,
    idle: Mutex<Idle>,
    /// One permit per instance that may exist.
    slots: Arc<Semaphore>,
    queued: AtomicUsize,
}

/// Instances without a request, the most recently used last, since its memory
/// is the warmest.
struct Idle {
    #[expect(
        clippy::vec_box,
        reason = "an instance is large and moves into and out of futures"
    )]
    instances: Vec<Box<Instance>>,
    /// The fewest there were since the last trim: so many were not needed.
    unneeded: usize,
    meters: Arc<PodMeters>,
}

/// A pool at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolStatus {
    pub idle: usize,
    pub busy: usize,
    pub queued: usize,
}

/// Counts what goes with a pool whose environment is no longer that of the pod.
impl Drop for Idle {
    fn drop(&mut self) {
        self.meters.retired(Retired::Ended, self.instances.len());
    }
}

impl Pool {
    pub(super) fn new(blueprint: Arc<Blueprint>, isolation: Isolation) -> Self {
        Self {
            isolation,
            idle: Mutex::new(Idle {
                instances: Vec::new(),
                unneeded: 0,
                meters: blueprint.meters.clone(),
            }),
            slots: Arc::new(Semaphore::new(blueprint.instances_max)),
            queued: AtomicUsize::new(0),
            blueprint,
        }
    }

    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        let instance = self.start().await?;
        if self.isolation == Isolation::Instance {
            self.idle().instances.push(instance);
        } else {
            self.blueprint.meters.retired(Retired::WarmUp, 1);
        }
        Ok(())
    }

    /// Drops the idle instances that were idle ever since the last call, but one.
    pub(super) fn trim(&self) {
        let dropped: Vec<_> = {
            let mut idle = self.idle();
            let count = idle.unneeded.min(idle.instances.len().saturating_sub(1));
            let dropped = idle.instances.drain(..count).collect();
            idle.unneeded = idle.instances.len();
            dropped
        };
        self.blueprint.meters.retired(Retired::Idle, dropped.len());
    }

    pub(super) fn status(&self) -> PoolStatus {
        let idle = self.idle().instances.len();
        let taken = self
            .blueprint
            .instances_max
            .saturating_sub(self.slots.available_permits());
        PoolStatus {
            idle,
            busy: taken,
            queued: self.queued.load(Ordering::Relaxed),
        }
    }

    /// A permit for one instance, after waiting in the bounded queue.
    async fn slot(
        &self,
        context: &RequestContext,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let meters = &self.blueprint.meters;
        if let Ok(slot) = self.slots.clone().try_acquire_owned() {
            meters.waited(Duration::ZERO);
            return Ok(slot);
        }
        let _told = context.span(SpanKind::Internal, spans::QUEUE);
        let _queued = Queued::enter(&self.queued, self.blueprint.queue_max)?;
        let since = Instant::now();
        match timeout_at(deadline.into(), self.slots.clone().acquire_owned()).await {
            Ok(Ok(slot)) => {
                meters.waited(since.elapsed());
                Ok(slot)
            }
            Ok(Err(_)) => Err(Failure::Overflow),
            Err(_) => Err(Failure::Deadline),
        }
    }

    async fn instance(&self, context: &RequestContext) -> Result<Box<Instance>, Failure> {
        let idle = {
            let mut idle = self.idle();
            let instance = idle.instances.pop();
            idle.unneeded = idle.unneeded.min(idle.instances.len());
            instance
        };
        match idle {
            Some(instance) => Ok(instance),
            None => {
                let _told = context.span(SpanKind::Internal, spans::INSTANTIATE);
                self.start().await
            }
        }
    }

    async fn start(&self) -> Result<Box<Instance>, Failure> {
        let since = Instant::now();
        let instance = Instance::start(&self.blueprint).await?;
        self.blueprint.meters.started(since.elapsed());
        Ok(instance)
    }

    fn give_back(&self, instance: Box<Instance>, result: &Result<(), Failure>) {
        let why = match self.isolation {
            _ if result.is_err() => Retired::Failed,
            Isolation::Request => Retired::Request,
            Isolation::Instance if !instance.is_reusable() => Retired::Spent,
            Isolation::Instance => return self.idle().instances.push(instance),
        };
        self.blueprint.meters.retired(why, 1);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves a request that may wait for its turn.
pub(super) async fn serve(
    pool: &Arc<Pool>,
    request: Request,
    context: Arc<RequestContext>,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + pool.blueprint.limits.response;
    let slot = pool.slot(&context, deadline).await?;
    run(pool, Some(slot), request, context, deadline).await
}

/// Serves a probe at once: on an instance more than traffic may use, if need be.
pub(super) async fn serve_probe(
    pool: &Arc<Pool>,
    request: Request,
    context: Arc<RequestContext>,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + pool.blueprint.limits.response;
    let slot = pool.slots.clone().try_acquire_owned().ok();
    run(pool, slot, request, context, deadline).await
}

type Head = Result<http::Response<wasmtime_wasi_http::WasiBody>, ErrorCode>;

async fn run(
    pool: &Arc<Pool>,
    slot: Option<OwnedSemaphorePermit>,
    request: Request,
    context: Arc<RequestContext>,
    until: Instant,
) -> Result<Response, Failure> {
    let instance = pool.instance(&context).await?;
    let deadline = instance.store.data().deadline.clone();
    deadline.set(until);
    let (sender, head) = oneshot::channel();
    let method = request.method().clone();
    let work = work(pool.clone(), slot, instance, request, context, sender);
    match timeout_at(until.into(), first_response(work, head)).await {
        Ok(Ok((response, work))) => {
            let events = pool.blueprint.events.clone();
            let idle = pool.blueprint.limits.body_idle;
            let expected = body_length(&method, &response);
            Ok(response.map(|body| {
                let kill = Kill::new(pool.blueprint.killed.clone());
                GuestBody::boxed(body, work, expected, deadline, idle, kill, events)
            }))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Deadline),
    }
}

/// The guest's whole work on one request. Dropping it drops the instance.
fn work(
    pool: Arc<Pool>,
    slot: Option<OwnedSemaphorePermit>,
    mut instance: Box<Instance>,
    request: Request,
    context: Arc<RequestContext>,
    sender: oneshot::Sender<Head>,
) -> Work {
    let turn = instance.store.data().turn.clone();
    let abandoned = Abandoned(Some(pool.blueprint.meters.clone()));
    let work = async move {
        let mut abandoned = abandoned;
        let result = handle(&mut instance, request, context, sender)
            .await
            .map_err(|error| Failure::from_call(&error));
        abandoned.0 = None;
        pool.give_back(instance, &result);
        drop(slot);
        result
    };
    Box::pin(turn.take(work))
}

async fn handle(
    instance: &mut Instance,
    request: Request,
    context: Arc<RequestContext>,
    sender: oneshot::Sender<Head>,
) -> wasmtime::Result<()> {
    let Instance {
        store,
        proxy,
        requests,
    } = instance;
    *requests += 1;
    let Proxy::P2(proxy) = proxy else {
        return Err(wasmtime::format_err!(
            "an exclusive pool holds WASI 0.2 instances only"
        ));
    };
    store.data_mut().hooks.serve(Some(context));
    store.set_epoch_deadline(1);
    let mut http = wasmtime_wasi_http::WasiHttpView::http(store.data_mut());
    let request = http.new_incoming_request(Scheme::Http, request)?;
    let outparam = http.new_response_outparam(sender)?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(&mut *store, request, outparam)
        .await
}

/// Runs the guest until its response begins. Returns the work that is left.
async fn first_response(
    mut work: Work,
    mut head: oneshot::Receiver<Head>,
) -> Result<(http::Response<wasmtime_wasi_http::WasiBody>, Option<Work>), Failure> {
    let mut ended = None;
    let head = poll_fn(|context| {
        if ended.is_none()
            && let Poll::Ready(result) = work.poll_unpin(context)
        {
            ended = Some(result);
        }
        head.poll_unpin(context)
    })
    .await;
    match (head, ended) {
        (Ok(Ok(response)), None) => Ok((response, Some(work))),
        (Ok(Ok(response)), Some(Ok(()))) => Ok((response, None)),
        (_, Some(Err(failure))) => Err(failure),
        (Ok(Err(code)), _) => Err(Failure::NoResponse(code.to_string().into())),
        (Err(_), Some(Ok(()))) => Err(Failure::NoResponse("it returned without one".into())),
        (Err(_), None) => Err(work
            .await
            .err()
            .unwrap_or(Failure::NoResponse("it dropped the outparam".into()))),
    }
}

/// Counts an instance whose work nobody waits for any more.
struct Abandoned(Option<Arc<PodMeters>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(meters) = &self.0 {
            meters.retired(Retired::Abandoned, 1);
        }
    }
}

/// A place in the queue, given up when dropped.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn enter(count: &'a AtomicUsize, max: usize) -> Result<Self, Failure> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let queued = Self(count);
        if before >= max {
            Err(Failure::Overflow)
        } else {
            Ok(queued)
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
