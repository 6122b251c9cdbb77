//! The turn of a file's queue: the right to execute it, which one task or thread has at a time.

use std::sync::Arc;

use galleria_sqlite::Connection;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

use super::super::file::File;

pub(super) struct Turn {
    file: Arc<File>,
    is_over: bool,
}

/// What is needed to write: the connection, which a guest's transaction may hold, the file,
/// which another workload may be writing to, and the permit to run a statement of the pod.
struct Means {
    writer: OwnedMutexGuard<Option<Connection>>,
    _among_workloads: OwnedMutexGuard<()>,
    _running: OwnedSemaphorePermit,
}

impl Turn {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self {
            file,
            is_over: false,
        }
    }

    /// Executes the queue on a thread for blocking work, as soon as possible.
    pub(super) fn take_or_wait(self) {
        match self.try_means() {
            Some(means) => {
                tokio::task::spawn_blocking(move || self.write(means));
            }
            None => {
                tokio::spawn(self.wait());
            }
        }
    }

    /// Blocks until the queue is empty, or until something else waits for the connection, the
    /// file or the permit: it goes first.
    fn write(mut self, mut means: Means) {
        loop {
            let written = self.file.write_batch(&mut means.writer);
            if written == 0 {
                break;
            }
            drop(means);
            self.file.gather(written);
            means = match self.try_means() {
                Some(means) => means,
                None => {
                    tokio::spawn(self.wait());
                    return;
                }
            };
        }
        self.is_over = true;
    }

    fn try_means(&self) -> Option<Means> {
        Some(Means {
            writer: self.file.writer.clone().try_lock_owned().ok()?,
            _among_workloads: self.file.among_workloads.clone().try_lock_owned().ok()?,
            _running: self.file.try_run()?,
        })
    }

    /// Waits for the end of a transaction or of other statements. The writes in the queue wait
    /// for a limited time only.
    async fn wait(self) {
        let writer = self.file.writer.clone().lock_owned().await;
        let _among_workloads = self.file.among_workloads.clone().lock_owned().await;
        if let Some(_running) = self.file.run_next().await {
            let means = Means {
                writer,
                _among_workloads,
                _running,
            };
            tokio::task::spawn_blocking(move || self.write(means));
        }
    }
}

/// If the host stops, or a statement panics, the turn ends early: the writes that are still in
/// the queue fail.
impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.file.abandon_queue();
        }
    }
}
