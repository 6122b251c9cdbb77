//! Instances that serve one request at a time, and the queue in front of them.
//!
//! A request is served on the task of its caller: whoever waits for the response polls the
//! instance. Work that the guest does after the start of its response runs in a separate task
//! ([`delivery`]).
//!
//! [`delivery`]: super::delivery

mod instances;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::FutureExt;
use opentelemetry::trace::SpanKind;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout_at;
use wasmtime_wasi_http::handler::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};

use super::delivery::{Delivery, deliver};
use super::instance::Instance;
use super::pace::{LateBody, OUST_EVERY, Pace, Paces, watch_sender};
use super::{Failure, GuestSetup, Isolation};
use crate::body::body_length;
use crate::context::RequestContext;
use crate::telemetry::metrics::{PodMeters, RetirementReason};
use crate::telemetry::trace::spans;
use crate::{Request, Response};
use http_body::Body as _;
pub(super) use instances::For;
use instances::{Checkout, Instances, Life, PooledInstance};

/// A guest's work on one request. It ends some time after the start of the response.
pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// The instances of one pod.
pub(super) struct Pool {
    setup: Arc<GuestSetup>,
    isolation: Isolation,
    instances: Instances,
    /// One permit per instance that may serve a request.
    slots: Arc<Semaphore>,
    queued: AtomicUsize,
    paces: Paces,
    /// How many bytes wait for the readers of responses.
    buffered: Arc<AtomicUsize>,
}

/// The state of a pool at one point in time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PoolStatus {
    pub idle: usize,
    pub busy: usize,
    pub queued: usize,
}

impl Pool {
    pub(super) fn new(setup: Arc<GuestSetup>, isolation: Isolation) -> Self {
        Self {
            isolation,
            instances: Instances::new(&setup),
            slots: Arc::new(Semaphore::new(setup.instances_max)),
            queued: AtomicUsize::new(0),
            paces: Paces::default(),
            buffered: Arc::default(),
            setup,
        }
    }

    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.setup.limits.response;
        let checkout = self.instances.take(For::Probe, &self.paces, deadline).await;
        let instance = match checkout? {
            Checkout::Idle(instance) => instance,
            Checkout::Room(life) => self.start(life, For::Probe).await?,
        };
        if self.isolation == Isolation::Instance {
            self.instances.give_back(instance);
        } else {
            self.setup.meters.retired(RetirementReason::WarmUp, 1);
        }
        Ok(())
    }

    /// Drops the instances that have been idle since the last call, except one.
    pub(super) fn trim(&self) {
        self.instances.trim();
    }

    pub(super) fn status(&self) -> PoolStatus {
        let busy = self
            .setup
            .instances_max
            .saturating_sub(self.slots.available_permits());
        PoolStatus {
            idle: self.instances.idle(),
            busy,
            queued: self.queued.load(Ordering::Relaxed),
        }
    }

    /// A permit for one instance. What waits is boxed, so that the future of a request that
    /// need not wait stays small: it is moved several times.
    async fn slot(
        &self,
        context: &RequestContext,
        is_late: bool,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        match self.slots.clone().try_acquire_owned() {
            Ok(slot) => {
                self.setup.meters.waited(Duration::ZERO);
                Ok(slot)
            }
            Err(_) => Box::pin(self.wait_for_slot(context, is_late, deadline)).await,
        }
    }

    /// A permit for one instance, after waiting in the bounded queue.
    async fn wait_for_slot(
        &self,
        context: &RequestContext,
        is_late: bool,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        // The queue is only for requests that can be served when they get an instance.
        if is_late {
            return Err(Failure::Ousted);
        }
        let _span = context.span(SpanKind::Internal, spans::QUEUE);
        let _queued = QueuePlace::enter(&self.queued, self.setup.queue_max)?;
        let since = Instant::now();
        let mut slot = std::pin::pin!(self.slots.clone().acquire_owned());
        loop {
            if let Some(slot) = wait_or_oust(slot.as_mut(), &self.paces, deadline).await? {
                self.setup.meters.waited(since.elapsed());
                return slot.map_err(|_| Failure::Overflow);
            }
        }
    }

    async fn instance(
        &self,
        wanted: For,
        context: &RequestContext,
        deadline: Instant,
    ) -> Result<PooledInstance, Failure> {
        match self.instances.take(wanted, &self.paces, deadline).await? {
            Checkout::Idle(instance) => Ok(instance),
            Checkout::Room(life) => {
                let _span = context.span(SpanKind::Internal, spans::INSTANTIATE);
                Box::pin(self.start(life, wanted)).await
            }
        }
    }

    async fn start(&self, life: Life, wanted: For) -> Result<PooledInstance, Failure> {
        let since = Instant::now();
        let started = Instance::start(&self.setup).await;
        let instance = started.inspect_err(|failure| self.note(failure))?;
        self.setup.meters.started(since.elapsed());
        Ok(life.of(instance, wanted))
    }

    /// Adapts the number of instances after an instance ran out of memory.
    fn note(&self, failure: &Failure) {
        if let Failure::OutOfMemory(reached) = failure {
            self.instances.outgrown(*reached);
        }
    }

    fn give_back(&self, mut pooled: PooledInstance, result: &Result<(), Failure>) {
        match result {
            Ok(()) => self.instances.measure(&pooled),
            Err(failure) => self.note(failure),
        }
        let why = match self.isolation {
            _ if result.is_err() => RetirementReason::Failed,
            Isolation::Request => RetirementReason::Request,
            Isolation::Instance => match pooled.instance.is_done() {
                Some(why) => why,
                None => return self.instances.give_back(pooled),
            },
        };
        self.setup.meters.retired(why, 1);
    }
}

/// Waits for `ready`, but only for a short time: then it ousts the slowest request and returns
/// `None`.
///
/// # Errors
/// `Deadline` if the deadline has passed.
async fn wait_or_oust<T>(
    ready: impl Future<Output = T>,
    paces: &Paces,
    deadline: Instant,
) -> Result<Option<T>, Failure> {
    let next = deadline.min(Instant::now() + OUST_EVERY);
    match timeout_at(next.into(), ready).await {
        Ok(value) => Ok(Some(value)),
        Err(_) if Instant::now() >= deadline => Err(Failure::Deadline),
        Err(_) => {
            paces.oust_slowest();
            Ok(None)
        }
    }
}

/// Serves a request, which may wait for an instance.
pub(super) async fn serve(
    pool: &Arc<Pool>,
    request: Request,
    context: Arc<RequestContext>,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + pool.setup.limits.response;
    let is_late = request.extensions().get::<LateBody>().is_some();
    let slot = pool.slot(&context, is_late, deadline).await?;
    let instance = pool.instance(For::Traffic, &context, deadline).await?;
    run(pool, Some(slot), instance, request, context, deadline).await
}

/// Serves a probe at once, if necessary on an additional instance that traffic cannot use.
pub(super) async fn serve_probe(
    pool: &Arc<Pool>,
    request: Request,
    context: Arc<RequestContext>,
) -> Result<Response, Failure> {
    let deadline = Instant::now() + pool.setup.limits.response;
    let slot = pool.slots.clone().try_acquire_owned().ok();
    let instance = pool.instance(For::Probe, &context, deadline).await?;
    run(pool, slot, instance, request, context, deadline).await
}

type Head = Result<http::Response<wasmtime_wasi_http::WasiBody>, ErrorCode>;

async fn run(
    pool: &Arc<Pool>,
    slot: Option<OwnedSemaphorePermit>,
    instance: PooledInstance,
    request: Request,
    context: Arc<RequestContext>,
    until: Instant,
) -> Result<Response, Failure> {
    let deadline = instance.instance.store.data().deadline.clone();
    deadline.set(until);
    let (sender, head) = oneshot::channel();
    let method = request.method().clone();
    let pace = (!request.body().is_end_stream()).then(|| pool.paces.add());
    if let (Some(pace), Some(LateBody)) = (&pace, request.extensions().get()) {
        pace.is_late();
    }
    let request = match &pace {
        Some(pace) => request.map(|body| watch_sender(body, pace.clone())),
        None => request,
    };
    let work = work(pool.clone(), slot, instance, request, context, sender);
    let first = until_ousted(pace.as_deref(), first_response(work, head));
    match timeout_at(until.into(), first).await {
        Ok(Ok((response, work))) => {
            let setup = &pool.setup;
            let delivery = Delivery {
                expected: body_length(&method, &response),
                deadline,
                idle: setup.limits.body_idle,
                killed: setup.killed.clone(),
                events: setup.events.clone(),
                pod_buffers: pool.buffered.clone(),
            };
            let pace = || pace.unwrap_or_else(|| pool.paces.add());
            Ok(deliver(response, work, delivery, pace))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::Deadline),
    }
}

/// Ends `work` when other requests need the instance more than its slow client does.
async fn until_ousted<T>(
    pace: Option<&Pace>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut work = std::pin::pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        match pace.map(|pace| pace.poll_ousted(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Failure::Ousted)),
            _ => Poll::Pending,
        }
    })
    .await
}

/// The guest's entire work on one request. Dropping it drops the instance.
fn work(
    pool: Arc<Pool>,
    slot: Option<OwnedSemaphorePermit>,
    mut pooled: PooledInstance,
    request: Request,
    context: Arc<RequestContext>,
    sender: oneshot::Sender<Head>,
) -> Work {
    let turn = pooled.instance.store.data().turn.clone();
    let abandoned = CancelCount(Some(pool.setup.meters.clone()));
    let work = async move {
        let mut abandoned = abandoned;
        let result = handle(&mut pooled.instance, request, context, sender)
            .await
            .map_err(|error| Failure::from_call(&error));
        abandoned.0 = None;
        pool.give_back(pooled, &result);
        drop(slot);
        result
    };
    Box::pin(turn.take(Box::pin(work)))
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
        ..
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

/// Runs the guest until its response starts. Returns the response and the remaining work.
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

/// Counts an instance whose work was cancelled.
struct CancelCount(Option<Arc<PodMeters>>);

impl Drop for CancelCount {
    fn drop(&mut self) {
        if let Some(meters) = &self.0 {
            meters.retired(RetirementReason::Abandoned, 1);
        }
    }
}

/// A place in the queue, released when dropped.
struct QueuePlace<'a>(&'a AtomicUsize);

impl<'a> QueuePlace<'a> {
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

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
