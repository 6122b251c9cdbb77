//! An outgoing call of a guest, and who drives it.
//!
//! The task of the calling guest polls the call while the guest waits for its response. So the
//! called guest runs on the same thread, and nothing is handed over. If the guest waits for
//! anything else, or makes another call at the same time, the call continues as a task of its
//! own: it does not depend on what the guest waits for.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::runtime::AbortOnDropJoinHandle;
use wasmtime_wasi_http::Error;

use crate::Response;

type Answer = Result<Response, Error>;
pub(in crate::guest) type CallFuture = BoxFuture<'static, Answer>;

/// The guest's `future-incoming-response`. Dropping it cancels the call.
pub(in crate::guest) struct OutgoingCall(Arc<Mutex<Call>>);

enum Call {
    /// The task of the guest polls it.
    Driven {
        future: CallFuture,
        /// Since the guest's task was last suspended.
        polled: bool,
    },
    /// A task of its own.
    Spawned(AbortOnDropJoinHandle<Answer>),
    Answered(Answer),
    Taken,
}

/// What a guest learns when it asks for the response.
pub(super) enum Progress {
    Waiting,
    Answered(Answer),
    /// The response was received before.
    Taken,
}

/// The call that the task of a guest drives, if any.
#[derive(Debug, Clone)]
pub(in crate::guest) struct DrivenCall {
    call: Arc<Mutex<Weak<Mutex<Call>>>>,
    /// The serving threads, where called guests run.
    runtime: Handle,
}

impl OutgoingCall {
    /// The response, if there is one.
    pub(super) fn take(&self) -> Progress {
        let mut call = self.0.lock();
        match std::mem::replace(&mut *call, Call::Taken) {
            Call::Answered(answer) => Progress::Answered(answer),
            Call::Taken => Progress::Taken,
            unfinished => {
                *call = unfinished;
                Progress::Waiting
            }
        }
    }
}

#[async_trait]
impl Pollable for OutgoingCall {
    async fn ready(&mut self) {
        poll_fn(|context| self.0.lock().poll(context)).await;
    }
}

impl Call {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let answer = match self {
            Self::Driven { future, polled } => {
                *polled = true;
                future.poll_unpin(context)
            }
            Self::Spawned(task) => Pin::new(task).poll(context),
            Self::Answered(_) | Self::Taken => return Poll::Ready(()),
        };
        answer.map(|answer| *self = Self::Answered(answer))
    }

    /// Makes a driven call a task of its own.
    fn detach(&mut self, runtime: &Handle) {
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Driven { future, .. } => Self::Spawned(spawn(future, runtime)),
            other => other,
        };
    }

    /// Whether the task of the guest has polled it since the last time.
    fn take_polled(&mut self) -> bool {
        match self {
            Self::Driven { polled, .. } => std::mem::take(polled),
            Self::Spawned(_) | Self::Answered(_) | Self::Taken => false,
        }
    }
}

fn spawn(future: CallFuture, runtime: &Handle) -> AbortOnDropJoinHandle<Answer> {
    let _runtime = runtime.enter();
    wasmtime_wasi::runtime::spawn(future)
}

impl DrivenCall {
    /// Calls run on the current runtime.
    pub(in crate::guest) fn new() -> Self {
        Self {
            call: Arc::default(),
            runtime: Handle::current(),
        }
    }

    /// Begins a call, which the guest's task drives if it is the only one.
    pub(in crate::guest) fn drive(&self, future: CallFuture) -> OutgoingCall {
        let mut driven = self.call.lock();
        if let Some(other) = driven.upgrade() {
            let mut other = other.lock();
            if matches!(*other, Call::Driven { .. }) {
                // Calls at the same time run in parallel.
                other.detach(&self.runtime);
                return self.spawn(future);
            }
        }
        let polled = false;
        let call = Arc::new(Mutex::new(Call::Driven { future, polled }));
        *driven = Arc::downgrade(&call);
        OutgoingCall(call)
    }

    /// Begins a call in a task of its own.
    pub(in crate::guest) fn spawn(&self, future: CallFuture) -> OutgoingCall {
        let task = self.spawn_task(future);
        OutgoingCall(Arc::new(Mutex::new(Call::Spawned(task))))
    }

    /// The same, for a guest whose runtime awaits the task.
    pub(in crate::guest) fn spawn_task(&self, future: CallFuture) -> AbortOnDropJoinHandle<Answer> {
        spawn(future, &self.runtime)
    }

    /// Called when the guest's task is suspended. If it has polled the call and `can_drive` it,
    /// it will poll it again. Otherwise the call becomes a task of its own.
    pub(in crate::guest) fn suspended(&self, can_drive: bool) {
        if let Some(call) = self.call.lock().upgrade() {
            let mut call = call.lock();
            if !(call.take_polled() && can_drive) {
                call.detach(&self.runtime);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::sync::oneshot;
    use tokio::task;

    use super::*;
    use crate::body::empty;

    /// A call that is answered when the sender is used, and the task that carries it out.
    fn call() -> (
        CallFuture,
        oneshot::Sender<()>,
        oneshot::Receiver<Option<task::Id>>,
    ) {
        let (answer, answered) = oneshot::channel();
        let (report, reported) = oneshot::channel();
        let future = async move {
            // The call ends only when it is answered or dropped.
            let _ = answered.await;
            let _ = report.send(task::try_id());
            Ok(Response::new(empty()))
        };
        (future.boxed(), answer, reported)
    }

    fn has_answer(call: &OutgoingCall) -> bool {
        matches!(call.take(), Progress::Answered(Ok(_)))
    }

    #[tokio::test]
    async fn guest_that_waits_for_its_call_drives_it() {
        let guest = tokio::spawn(async {
            let driven = DrivenCall::new();
            let (future, answer, carried_out) = call();
            let mut call = driven.drive(future);
            for _ in 0..3 {
                assert!(poll!(call.ready()).is_pending());
                driven.suspended(true);
            }
            answer.send(()).expect("a call that waits");
            assert!(poll!(call.ready()).is_ready());
            assert!(has_answer(&call));
            assert!(matches!(call.take(), Progress::Taken));
            assert_eq!(carried_out.await.expect("an id"), task::try_id());
        });
        guest.await.expect("no panic");
    }

    #[tokio::test]
    async fn call_continues_while_the_guest_waits_for_something_else() {
        let driven = DrivenCall::new();
        for can_drive in [true, false] {
            let (future, answer, carried_out) = call();
            let mut call = driven.drive(future);
            // A guest that has polled the call but cannot drive it is no better.
            if !can_drive {
                assert!(poll!(call.ready()).is_pending());
            }
            driven.suspended(can_drive);
            answer.send(()).expect("a call that waits");
            carried_out
                .await
                .expect("the call continues without its guest");
            call.ready().await;
            assert!(has_answer(&call));
        }
    }

    #[tokio::test]
    async fn calls_at_the_same_time_run_in_parallel() {
        let driven = DrivenCall::new();
        let [(first, one, by_one), (second, two, by_two)] = [call(), call()];
        let calls = [driven.drive(first), driven.drive(second)];
        one.send(()).expect("a call that waits");
        two.send(()).expect("a call that waits");
        let ids = [by_one.await, by_two.await].map(|id| id.expect("an answer"));
        assert_ne!(ids[0], ids[1]);
        drop(calls);
    }

    #[tokio::test]
    async fn call_ends_with_its_handle() {
        let driven = DrivenCall::new();
        for spawned in [false, true] {
            let (future, _answer, carried_out) = call();
            let call = driven.drive(future);
            if spawned {
                driven.suspended(true);
            }
            drop(call);
            carried_out.await.expect_err("the call was dropped");
        }
    }
}
