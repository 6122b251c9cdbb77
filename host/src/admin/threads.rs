//! The admin API's own threads.
//!
//! A request of a few bytes may ask for much: to decode 3 MiB, to list every object, to
//! compare an object with what ten managers said of it. All of it, TLS included, is done
//! on threads that serve no traffic, and that leave the cores to those that do.

use std::io;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Runtime};

/// One works while the other is busy with something large.
const THREADS: usize = 2;

/// Where cores are scarce, a serving thread gets nine times as much of them.
const NICENESS: i32 = 10;

/// They end when this goes.
pub(crate) struct Threads(Option<Runtime>);

impl Threads {
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("admin")
            .on_thread_start(|| {
                // On Linux this is of the calling thread alone.
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
        // Without waiting: it may go on a thread that must not block.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
