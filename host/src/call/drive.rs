//! Carries out the steps of a call's driver, which decides them
//! (`galleria_mesh::Driver`): sleeps, waits for admission, and attempts the call until a
//! response is final.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use galleria_mesh as mesh;
use galleria_mesh::{
    CallFacts, Driver, Ejection, Forward, LocalReply, MirrorForward, RequestPermit, Step,
};
use http::request;
use tokio::time::{sleep, timeout_at};

use super::attempt::{self, Attempt, AttemptResult};
use super::call_log::CallLog;
use super::{CallScope, mirror};
use crate::active_config::ActiveConfig;
use crate::body::{Replay, empty};
use crate::telemetry::trace::spans;
use crate::{Body, Response};

/// A call in progress.
pub(super) struct Drive<'a, 'b> {
    scope: &'a CallScope<'b>,
    driver: Driver,
    /// The decision; `None` for a mirrored request.
    forward: Option<&'a mut Forward>,
    parts: request::Parts,
    body: RequestBody,
    /// Of the snapshot that has the driver's cluster.
    live: Arc<ActiveConfig>,
    permit: Option<RequestPermit>,
    /// The result of the last attempt.
    result: Option<AttemptResult>,
}

/// The body of a request.
enum RequestBody {
    /// For one attempt; `None` once it is sent.
    Once(Option<Body>),
    /// For as many attempts as fit.
    Repeated(Replay),
}

/// The deadline has passed.
struct TimedOut;

impl<'a, 'b> Drive<'a, 'b> {
    pub(super) fn new(
        scope: &'a CallScope<'b>,
        forward: &'a mut Forward,
        parts: request::Parts,
        body: Body,
    ) -> Self {
        let driver = Driver::new(forward, &parts.method, scope.timeout, &mut rand::rng());
        Self::begin(scope, driver, Some(forward), parts, body)
    }

    /// Sends a copy of a request.
    pub(super) fn mirror(
        scope: &'a CallScope<'b>,
        mirror: &MirrorForward,
        parts: request::Parts,
        body: Body,
    ) -> Self {
        let driver = Driver::mirror(mirror, Instant::now());
        Self::begin(scope, driver, None, parts, body)
    }

    fn begin(
        scope: &'a CallScope<'b>,
        driver: Driver,
        forward: Option<&'a mut Forward>,
        parts: request::Parts,
        body: Body,
    ) -> Self {
        Self {
            scope,
            driver,
            forward,
            parts,
            body: RequestBody::Once(Some(body)),
            live: scope.live.clone(),
            permit: None,
            result: None,
        }
    }

    /// When a mirrored request must have its whole response.
    pub(super) fn body_deadline(&self) -> Option<Instant> {
        self.driver.body_deadline()
    }

    /// Takes steps until the call has a response.
    ///
    /// # Errors
    /// The mesh's own reply.
    pub(super) async fn run(mut self, call_log: &mut CallLog) -> Result<Response, LocalReply> {
        loop {
            let step = self.driver.step(Instant::now(), &mut rand::rng());
            call_log.record.flags |= self.driver.flags();
            let waited = match step {
                Step::Delay(delay) => {
                    let _span = self.scope.span(spans::FAULT_DELAY);
                    sleep(delay).await;
                    Ok(())
                }
                Step::Prepare => self.prepare().map(Ok)?,
                Step::Admit(admission) => match until(self.driver.deadline(), admission).await {
                    Ok(permit) => {
                        self.admitted(permit);
                        Ok(())
                    }
                    Err(timed_out) => Err(timed_out),
                },
                Step::Attempt(attempt) => self.attempt(attempt, call_log).await,
                Step::NoEndpoint(reply) => self.follow().ok_or(reply).map(Ok)?,
                Step::Pause(pause) => {
                    self.result = None;
                    until(self.driver.deadline(), sleep(pause)).await
                }
                Step::Reply(reply) => return Err(reply),
                Step::Answer => return self.answer(call_log),
            };
            if let Err(TimedOut) = waited {
                let (reply, ejection) = self.driver.timed_out(Instant::now());
                self.log_ejection(ejection);
                return Err(reply);
            }
        }
    }

    /// Applies the changes that the route makes to the request.
    fn prepare(&mut self) -> Result<(), LocalReply> {
        let Some(forward) = &mut self.forward else {
            return Ok(());
        };
        let head = self.scope.head(&self.parts)?;
        let hash = forward.hash(&head, &mut rand::rng());
        self.driver.set_hash(hash);
        if forward.substitutes() {
            let start = SystemTime::now().duration_since(UNIX_EPOCH);
            self.parts.extensions.insert(CallFacts {
                start: start.unwrap_or_default(),
                trace_id: format!("{:032x}", self.scope.context.trace.trace_id),
            });
        }
        forward.apply_request(&mut self.parts);
        Ok(())
    }

    /// Starts the mirrored copies, and allows retries.
    fn admitted(&mut self, permit: RequestPermit) {
        self.permit = Some(permit);
        if let (Some(forward), RequestBody::Once(body)) = (&self.forward, &mut self.body) {
            let body = body.take().unwrap_or_else(empty);
            let body = mirror::send(self.scope, forward, &self.parts, body);
            self.body = RequestBody::Repeated(Replay::new(body));
        }
    }

    async fn attempt(
        &mut self,
        attempt: mesh::Attempt,
        call_log: &mut CallLog,
    ) -> Result<(), TimedOut> {
        let mesh::Attempt {
            picked,
            number,
            per_try_timeout,
        } = attempt;
        call_log.record.attempt(picked.clone());
        let body = self.body.next();
        let attempt = Attempt {
            scope: self.scope,
            live: &self.live,
            cluster: self.driver.cluster(),
            per_try_timeout,
            deadline: self.driver.deadline(),
            number,
        };
        let sent = Box::pin(attempt.run(&picked, self.parts.clone(), body, call_log));
        let result = until(self.driver.deadline(), sent).await?;
        let outcome = attempt::outcome(&result);
        let can_repeat = self.body.can_repeat();
        let now = Instant::now();
        let ejection = self
            .driver
            .ended(&outcome, can_repeat, now, &mut rand::rng());
        self.log_ejection(ejection);
        self.result = Some(result);
        Ok(())
    }

    /// Continues with the same cluster of the current snapshot; `None` if that has not
    /// changed. A call keeps its route, but finds the pods that have replaced those of its
    /// snapshot.
    fn follow(&mut self) -> Option<()> {
        self.forward.as_ref()?;
        let live = self.scope.mesh.current.load();
        if Arc::ptr_eq(&live, &self.live) {
            return None;
        }
        let cluster = live.successor_of(self.driver.cluster())?.clone();
        self.driver.replace_cluster(cluster);
        self.live = live;
        Some(())
    }

    /// The response of the last attempt. Its permit is held until its body has ended.
    fn answer(self, call_log: &mut CallLog) -> Result<Response, LocalReply> {
        let result = self.result.ok_or_else(LocalReply::upstream_timeout)?;
        let response = result.finish(call_log)?;
        if self.forward.is_some() {
            call_log.admitted(self.permit, self.driver.body_deadline());
        }
        Ok(response)
    }

    fn log_ejection(&self, ejection: Option<Ejection>) {
        if let Some(ejection) = ejection {
            tracing::warn!(
                cluster = self.driver.cluster().name,
                endpoint = ejection.endpoint,
                reason = ejection.reason,
                seconds = ejection.duration.as_secs_f32(),
                "ejected"
            );
        }
    }
}

/// Waits for `work` until `deadline`.
async fn until<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T, TimedOut> {
    match deadline {
        None => Ok(work.await),
        Some(deadline) => timeout_at(deadline.into(), work)
            .await
            .map_err(|_| TimedOut),
    }
}

impl RequestBody {
    /// The body for the next attempt.
    fn next(&mut self) -> Body {
        match self {
            Self::Once(body) => body.take().unwrap_or_else(empty),
            Self::Repeated(replay) => replay.body(),
        }
    }

    fn can_repeat(&self) -> bool {
        match self {
            Self::Once(_) => false,
            Self::Repeated(replay) => replay.can_repeat(),
        }
    }
}
