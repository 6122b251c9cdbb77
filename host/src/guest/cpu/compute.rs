//! The threads for guests that compute.
//!
//! The serving threads run a guest only until it has used one tick of CPU time. After that, it
//! runs here: one thread per core, with a lower priority, so that the kernel prefers short
//! work. The threads are started when the first guest needs them.

use std::future::pending;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Added to the priority of the process (`nice`). With 10, the kernel gives a serving thread
/// about ten times as much time as a compute thread if both need the same core.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Turns between two polls of sockets and new tasks. A turn takes a tick, so the default of 61
/// would be too long.
const EVENT_INTERVAL: u32 = 1;
const GLOBAL_QUEUE_INTERVAL: u32 = 2;

/// Shared by all guests of an engine.
#[derive(Debug, Clone, Default)]
pub(in crate::guest) struct ComputeThreads(Arc<Threads>);

/// `None` if the system refuses to start threads. Then guests compute on the serving threads,
/// one tick at a time.
#[derive(Debug, Default)]
struct Threads(OnceLock<Option<Runtime>>);

impl ComputeThreads {
    /// Runs `work` on these threads. Dropping the returned future stops the work at its next
    /// turn.
    ///
    /// # Panics
    /// If `work` panics.
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
                // The process terminates, and nothing needs the output.
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

/// On Linux, a thread has its own priority.
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
    /// Waiting for the threads would block, which is not allowed in an asynchronous task.
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
