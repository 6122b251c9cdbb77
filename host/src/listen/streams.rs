//! The tasks of HTTP/2 streams. A stream whose client does not open its window
//! waits inside the HTTP library, where no timer of a body runs: the task around it
//! has one, and ends the stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Sleep;

use crate::telemetry::metrics::{CloseReason, PortMeters};

tokio::task_local! {
    /// The stream that the running task is of.
    static STREAM: Arc<Progress>;
}

/// Whose turn it is: the client's after a frame was handed over, the service's
/// while the next one is awaited. Odd numbers are the client's turns.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    /// That of the stream that the running task serves; None on HTTP/1.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Clone::clone).ok()
    }

    /// A frame was handed over: the client is to take it.
    pub(super) fn handed_over(&self) {
        let turn = self.0.load(Relaxed);
        self.0.store((turn + 2) | 1, Relaxed);
    }

    /// The service is to give the next frame.
    pub(super) fn awaited(&self) {
        let turn = self.0.load(Relaxed);
        self.0.store((turn + 1) & !1, Relaxed);
    }

    /// The number of the client's turn, where it is the client's.
    fn client_turn(&self) -> Option<u64> {
        let turn = self.0.load(Relaxed);
        (turn & 1 == 1).then_some(turn)
    }
}

/// Runs a connection's streams, each for as long as its client takes what it asked
/// for.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    pub(super) stall_limit: Duration,
    pub(super) meters: Arc<PortMeters>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let progress = Arc::<Progress>::default();
        let watched = Watched {
            stream: Box::pin(stream),
            progress: progress.clone(),
            limit: self.stall_limit,
            waiting: None,
            meters: self.meters.clone(),
        };
        tokio::spawn(STREAM.scope(progress, watched));
    }
}

/// A stream that is dropped, and so reset, when its client stalls.
struct Watched<F> {
    stream: Pin<Box<F>>,
    progress: Arc<Progress>,
    limit: Duration,
    /// The client's turn, and what is left of its time for it.
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
    meters: Arc<PortMeters>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.stream.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(turn) = this.progress.client_turn() else {
            this.waiting = None;
            return Poll::Pending;
        };
        let limit = this.limit;
        let begun = || (turn, Box::pin(tokio::time::sleep(limit)));
        if this.waiting.as_ref().is_some_and(|(of, _)| *of != turn) {
            this.waiting = None;
        }
        let (_, timer) = this.waiting.get_or_insert_with(begun);
        ready!(timer.as_mut().poll(context));
        this.meters.closed(CloseReason::Stalled);
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Runs a stream that says of itself what `says` sends; returns when it ended.
    async fn ended(says: impl FnOnce(mpsc::Sender<bool>)) -> Duration {
        let began = Instant::now();
        let (sender, mut turns) = mpsc::channel(16);
        says(sender);
        let (alive, mut end) = mpsc::channel::<()>(1);
        let executor = StreamExecutor {
            stall_limit: LIMIT,
            meters: Arc::default(),
        };
        executor.execute(async move {
            let progress = Progress::current().expect("of a stream");
            while let Some(is_clients) = turns.recv().await {
                match is_clients {
                    true => progress.handed_over(),
                    false => progress.awaited(),
                }
            }
            drop(alive);
        });
        assert_eq!(end.recv().await, None);
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn stream_is_dropped_when_its_client_takes_nothing() {
        let (keep, mut kept) = mpsc::channel(1);
        let lasted = ended(|says| {
            says.try_send(true).expect("a stream");
            keep.try_send(says).expect("room");
        })
        .await;
        assert_eq!(lasted.as_secs(), LIMIT.as_secs());
        drop(kept.recv().await);
    }

    #[tokio::test(start_paused = true)]
    async fn every_frame_taken_begins_the_time_anew_and_a_slow_service_costs_none() {
        let lasted = ended(|says| {
            tokio::spawn(async move {
                for is_clients in [true, true, false, true] {
                    says.try_send(is_clients).expect("a stream");
                    let pause = if is_clients { LIMIT / 2 } else { LIMIT * 2 };
                    tokio::time::sleep(pause).await;
                }
            });
        })
        .await;
        assert_eq!(lasted, LIMIT / 2 * 3 + LIMIT * 2);
    }

    #[test]
    fn there_is_no_stream_on_http1() {
        assert!(Progress::current().is_none());
    }
}
