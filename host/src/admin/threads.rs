//! The admin API's own threads.
//!
//! A small request can be expensive: to decode 3 MiB, to list every object, to compare an
//! object with the fields of ten managers. All of that, TLS included, runs on threads that
//! serve no traffic and have a lower priority than those that do.

use std::io;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Runtime};

/// One of them stays available while the other runs an expensive request.
const THREADS: usize = 2;

/// With this niceness, a thread that serves traffic gets nine times as much of a core.
const NICENESS: i32 = 10;

/// The threads end when this is dropped.
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("admin")
            .on_thread_start(|| {
                // On Linux this only affects the calling thread.
                if let Err(error) = setpriority_process(None, NICENESS) {
                    tracing::debug!(%error, "cannot change the priority of the admin API's threads");
                }
            })
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(work);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Without waiting: it may be dropped on a thread that must not block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
