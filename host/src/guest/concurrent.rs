//! WASI 0.3 guests: one instance serves several requests at once.
//!
//! A request runs its instance on its own task until the guest has responded or waits
//! ([`shared`]). Usually the whole response is in memory then, and the request never left its
//! task. A semaphore limits the number of requests.

mod attribution;
mod body;
mod event_loop;
mod instances;
mod progress;
mod schedule;
mod shared;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use wasmtime_wasi_http::WasiBody;

use super::delivery::whole;
use super::instance::{Instance, REQUESTS_MAX};
use super::kill::Kill;
use super::pace::Paces;
use super::pool::{For, PoolStatus};
use super::{Failure, GuestSetup, Isolation};
use crate::context::RequestContext;
use crate::telemetry::metrics::RetirementReason;
use crate::{Request, Response};
pub(super) use attribution::add_to_linker;
use body::{Content, PermitBody, WrittenFrames, take_written};
use instances::{Checkout, Instances};
use progress::{Progress, Rules};
use shared::{Claim, SharedInstance};

/// How many requests one instance serves at once. More gain nothing on a few cores, and
/// increase the cost of a trap.
const CONCURRENT_MAX: usize = 64;

/// The guest of one pod, with its instances.
pub(super) struct ConcurrentGuest {
    setup: Arc<GuestSetup>,
    rules: Rules,
    instances: Arc<Instances>,
    /// How many requests may be served or queued; further requests fail with `Overflow`.
    admitted: Arc<Semaphore>,
    paces: Paces,
}

/// A request that waits for an instance.
struct Arrival {
    request: Request,
    context: Arc<RequestContext>,
    at: Instant,
}

impl ConcurrentGuest {
    pub(super) fn new(setup: Arc<GuestSetup>, isolation: Option<Isolation>) -> Self {
        let concurrent_max = match isolation {
            None => CONCURRENT_MAX,
            Some(Isolation::Instance | Isolation::Request) => 1,
        };
        let total_max = match isolation {
            Some(Isolation::Request) => 1,
            None | Some(Isolation::Instance) => REQUESTS_MAX as usize,
        };
        Self {
            rules: Rules {
                concurrent_max,
                total_max,
                response: setup.limits.response,
            },
            instances: Arc::new(Instances::new(setup.instances_max)),
            admitted: Arc::new(Semaphore::new(setup.instances_max + setup.queue_max)),
            paces: Paces::default(),
            setup,
        }
    }

    pub(super) async fn warm_up(&self) -> Result<(), Failure> {
        let began = Instant::now();
        let instance = Instance::start(&self.setup).await?;
        self.setup.meters.started(began.elapsed());
        drop(instance);
        self.setup.meters.retired(RetirementReason::WarmUp, 1);
        Ok(())
    }

    pub(super) async fn serve(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        let permit = self.permit()?;
        self.handle(request, context, For::Traffic, Some(permit))
            .await
    }

    /// Like [`ConcurrentGuest::serve`], but bypasses the limit.
    pub(super) async fn serve_probe(
        &self,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Result<Response, Failure> {
        self.handle(request, context, For::Probe, None).await
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
        wanted: For,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Response, Failure> {
        let at = Instant::now();
        let deadline = at + self.rules.response;
        if self.setup.cpu.resumes_at(at).is_some() {
            let within_budget = timeout_at(deadline.into(), self.setup.cpu.within_budget()).await;
            within_budget.map_err(|_| Failure::Deadline)?;
        }
        let mut arrival = Arrival {
            request,
            context: context.clone(),
            at,
        };
        let (claim, id) = loop {
            let mut claim = self.claim(wanted, deadline).await?;
            match claim.serve(arrival) {
                Ok(id) => break (claim, id),
                Err(refused) => arrival = *refused,
            }
        };
        let instance = claim.instance.clone();
        let progress = instance.progress();
        if let Some(answer) = claim.answer(id) {
            let answer = answer
                .map(|response| self.pass_on(response, Some(claim), progress, context, permit));
            return progress.failure().map_or(answer, Err);
        }
        let answer = claim.wait_for(id);
        drop(claim);
        match timeout_at(deadline.into(), answer).await {
            Ok(Ok(answer)) => {
                let response = answer?;
                Ok(self.pass_on(response, instance.claim(), progress, context, permit))
            }
            Ok(Err(_)) => Err(progress.failure().unwrap_or(Failure::Killed)),
            Err(_) => Err(Failure::Deadline),
        }
    }

    /// An instance that accepts a request, a new one if necessary.
    async fn claim(&self, wanted: For, deadline: Instant) -> Result<Claim, Failure> {
        match self.instances.take(wanted, deadline).await? {
            Checkout::Open(claim) => Ok(claim),
            Checkout::Room(place) => {
                let started =
                    SharedInstance::start(&self.setup, self.rules, &self.instances, place);
                let started = timeout_at(deadline.into(), started).await;
                started.map_err(|_| Failure::Deadline)?
            }
        }
    }

    /// The response for its reader. It holds the permit while the guest works on it.
    fn pass_on(
        &self,
        response: http::Response<WasiBody>,
        mut claim: Option<Claim>,
        progress: &Arc<Progress>,
        context: Arc<RequestContext>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Response {
        let (parts, body) = response.into_parts();
        let WrittenFrames { frames, rest } = take_written(body, claim.as_mut(), progress);
        drop(claim);
        let Some(rest) = rest else {
            return whole(parts, frames.into());
        };
        let content = Content {
            frames,
            rest,
            _context: context,
            _permit: permit,
        };
        let kill = Kill::new(self.setup.killed.clone());
        let body = PermitBody::new(content, progress.clone(), kill, self.paces.add());
        http::Response::from_parts(parts, body.boxed())
    }

    pub(super) fn status(&self) -> PoolStatus {
        let existing = self.instances.existing.load(Ordering::Relaxed);
        let busy = self.instances.busy.load(Ordering::Relaxed).min(existing);
        PoolStatus {
            idle: existing - busy,
            busy,
            queued: self.instances.waiting(),
        }
    }
}

impl Drop for ConcurrentGuest {
    fn drop(&mut self) {
        self.instances.close();
    }
}
