//! The threads on which guests compute.
//!
//! The threads that serve everybody run a guest only until it has used a tick of
//! CPU time. From then on it runs here: one thread for each core, at a lower
//! priority, so that the kernel lets short work go first and gives what is left
//! to guests that compute. The threads start with the first guest that needs
//! them.

use std::future::pending;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Added to the priority that the process has (`nice`). At 10 the kernel gives a
/// serving thread about ten times the time of a computing one while both want
/// the same core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// A task yields after each turn of a guest, which is a tick: sockets and new
/// tasks are looked at as often, not after the default of 61 turns.
const EVENT_INTERVAL: u32 = 1;
const GLOBAL_QUEUE_INTERVAL: u32 = 2;

/// Shared by all guests of an engine.
#[derive(Debug, Clone, Default)]
pub(in crate::guest) struct ComputeThreads(Arc<Threads>);

/// None where the system refuses the threads: guests compute on the serving
/// threads then, a tick at a time.
#[derive(Debug, Default)]
struct Threads(OnceLock<Option<Runtime>>);

impl ComputeThreads {
    /// Runs `work` on these threads. Dropping the returned future stops the work at
    /// its next turn.
    ///
    /// # Panics
    /// With the panic of `work`.
    pub(super) async fn run<F>(&self, work: F) -> F::Output
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = match self.0.0.get_or_init(start) {
            Some(runtime) => runtime.spawn(work),
            None => Handle::current().spawn(work),
        };
        match AbortOnDrop(task).await {
            Ok(output) => output,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The process ends, and nobody waits for an output any more.
                Err(_) => pending().await,
            },
        }
    }
}

fn start() -> Option<Runtime> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let built = Builder::new_multi_thread()
        .thread_name("compute")
        .worker_threads(threads)
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .on_thread_start(lower_priority)
        .enable_all()
        .build();
    built
        .inspect_err(|error| {
            tracing::error!(%error, "cannot start threads for guests that compute; they run on the serving threads");
        })
        .ok()
}

/// On Linux a thread has a priority of its own.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{getpriority_process, setpriority_process};
        let thread = Some(rustix::thread::gettid());
        let lowered = getpriority_process(thread)
            .and_then(|niceness| setpriority_process(thread, niceness + NICENESS));
        if let Err(error) = lowered {
            tracing::warn!(%error, "cannot lower the priority of a thread for guests that compute");
        }
    }
}

impl Drop for Threads {
    /// Waiting for the threads would block, which an asynchronous task must not.
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = <JoinHandle<T> as Future>::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
