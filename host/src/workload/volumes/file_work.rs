//! The threads that work on the files of pods.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// On how many pods' files the host works at once. Otherwise a thousand pods that start
/// together would have hundreds of threads, each with its own heap.
const AT_ONCE: usize = 4;

/// See the module's documentation.
#[derive(Debug, Clone)]
pub(crate) struct FileWork(Arc<Semaphore>);

impl Default for FileWork {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl FileWork {
    /// Runs `work`, which may block, when it is its turn.
    ///
    /// # Errors
    /// It panicked, or the host is stopping.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        // The semaphore is never closed. The work keeps its turn even if nothing waits for it.
        let turn = self.0.clone().acquire_owned().await.ok();
        spawn_blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn pods_that_start_together_take_turns() {
        let files = FileWork::default();
        let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let pods = (0..64).map(|_| {
            let (files, running, most) = (files.clone(), running.clone(), most.clone());
            tokio::spawn(async move {
                let work = move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                    running.fetch_sub(1, Ordering::SeqCst);
                };
                files.run(work).await.expect("no panic");
            })
        });
        for pod in pods.collect::<Vec<_>>() {
            pod.await.expect("no panic");
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=AT_ONCE).contains(&most), "{most} at once");
    }
}
