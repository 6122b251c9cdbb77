//! An outgoing call of a guest, and who drives it.
//!
//! The task of the calling guest polls the call while the guest waits for its response. So the
//! called guest runs on the same thread, and nothing is handed over. If the guest waits for
//! anything else, or makes another call at the same time, the call continues as a task of its
//! own: it does not depend on what the guest waits for.

use std::fmt;
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
#[derive(Debug)]
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

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driven { .. } => "Driven",
            Self::Spawned(_) => "Spawned",
            Self::Answered(_) => "Answered",
            Self::Taken => "Taken",
        })
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

    /// Makes a driven call a task of its own, unless `keep` says that it is polled anyway.
    fn detach(&mut self, runtime: &Handle, keep: impl FnOnce(&mut bool) -> bool) {
        match std::mem::replace(self, Self::Taken) {
            Self::Driven { future, mut polled } => {
                *self = match keep(&mut polled) {
                    true => Self::Driven { future, polled },
                    false => Self::Spawned(spawn(future, runtime)),
                };
            }
            other => *self = other,
        }
    }
}

fn spawn(future: CallFuture, runtime: &Handle) -> AbortOnDropJoinHandle<Answer> {
    let _runtime = runtime.enter();
    wasmtime_wasi::runtime::spawn(future)
}

impl DrivenCall {
    /// Called calls run on the current runtime.
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
                other.detach(&self.runtime, |_| false);
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

    /// The same for a guest that awaits the call by itself.
    pub(in crate::guest) fn spawn_task(&self, future: CallFuture) -> AbortOnDropJoinHandle<Answer> {
        spawn(future, &self.runtime)
    }

    /// The guest's task is suspended, and will poll the call if it has done so this time, and
    /// if it `can_drive`. Otherwise the call becomes a task of its own.
    pub(in crate::guest) fn suspended(&self, can_drive: bool) {
        if let Some(call) = self.call.lock().upgrade() {
            let mut call = call.lock();
            call.detach(&self.runtime, |polled| std::mem::take(polled) && can_drive);
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
        let (tell, told) = oneshot::channel();
        let future = async move {
            // The call ends only when it is answered or dropped.
            let _ = answered.await;
            let _ = tell.send(task::try_id());
            Ok(Response::new(empty()))
        };
        (future.boxed(), answer, told)
    }

    fn has_answer(call: &OutgoingCall) -> bool {
        matches!(call.take(), Progress::Answered(Ok(_)))
    }

    #[tokio::test]
    async fn guest_that_waits_for_its_call_drives_it() {
        let guest = tokio::spawn(async {
            let driven = DrivenCall::new();
            let (future, answer, told) = call();
            let mut call = driven.drive(future);
            for _ in 0..3 {
                assert!(poll!(call.ready()).is_pending());
                driven.suspended(true);
            }
            answer.send(()).expect("a call that waits");
            assert!(poll!(call.ready()).is_ready());
            assert!(has_answer(&call));
            assert!(matches!(call.take(), Progress::Taken));
            assert_eq!(told.await.expect("an id"), task::try_id());
        });
        guest.await.expect("no panic");
    }

    #[tokio::test]
    async fn call_goes_on_while_the_guest_waits_for_something_else() {
        let driven = DrivenCall::new();
        for can_drive in [true, false] {
            let (future, answer, told) = call();
            let mut call = driven.drive(future);
            // A guest that has polled the call but cannot drive it is no better.
            if !can_drive {
                assert!(poll!(call.ready()).is_pending());
            }
            driven.suspended(can_drive);
            answer.send(()).expect("a call that waits");
            told.await.expect("the call went on without its guest");
            call.ready().await;
            assert!(has_answer(&call));
        }
    }

    #[tokio::test]
    async fn calls_at_the_same_time_run_in_parallel() {
        let driven = DrivenCall::new();
        let [(first, one, told_one), (second, two, told_two)] = [call(), call()];
        let calls = [driven.drive(first), driven.drive(second)];
        one.send(()).expect("a call that waits");
        two.send(()).expect("a call that waits");
        let ids = [told_one.await, told_two.await].map(|id| id.expect("an answer"));
        assert_ne!(ids[0], ids[1]);
        drop(calls);
    }

    #[tokio::test]
    async fn call_ends_with_its_handle() {
        let driven = DrivenCall::new();
        for spawned in [false, true] {
            let (future, _answer, told) = call();
            let call = driven.drive(future);
            if spawned {
                driven.suspended(true);
            }
            drop(call);
            told.await.expect_err("the call was dropped");
        }
    }
}
