//! The tasks of HTTP/2 streams. If a client does not open the window of its stream, the stream
//! waits inside the HTTP library, which has no timer for it. The task around it has one, and
//! ends the stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::time::Sleep;

use crate::body::Turns;
use crate::telemetry::metrics::{CloseReason, PortMeters};

tokio::task_local! {
    /// The progress of the stream that the running task serves.
    static STREAM: Arc<Progress>;
}

/// Who is to act next: the client after a frame was passed on, or the service while the next
/// frame is awaited. Odd numbers are turns of the client.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    /// The progress of the stream that the running task serves. None on HTTP/1.
    pub(super) fn current() -> Option<Arc<Self>> {
        STREAM.try_with(Clone::clone).ok()
    }

    /// The number of the turn, if it is the client's.
    fn client_turn(&self) -> Option<u64> {
        let turn = self.0.load(Relaxed);
        (turn & 1 == 1).then_some(turn)
    }
}

impl Turns for Arc<Progress> {
    fn handed_over(&self) {
        let turn = self.0.load(Relaxed);
        self.0.store((turn + 2) | 1, Relaxed);
    }

    fn awaited(&self) {
        let turn = self.0.load(Relaxed);
        self.0.store((turn + 1) & !1, Relaxed);
    }
}

/// Runs the streams of a connection, each as long as its client keeps reading.
#[derive(Clone)]
pub(super) struct StreamExecutor {
    pub(super) stall_limit: Duration,
    pub(super) meters: Arc<PortMeters>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        let progress = Arc::<Progress>::default();
        let watched = WatchedStream {
            stream: Box::pin(stream),
            progress: progress.clone(),
            limit: self.stall_limit,
            waiting: None,
            meters: self.meters.clone(),
        };
        tokio::spawn(STREAM.scope(progress, watched));
    }
}

/// A stream that is dropped, and thereby reset, when its client stalls.
struct WatchedStream<F> {
    stream: Pin<Box<F>>,
    progress: Arc<Progress>,
    limit: Duration,
    /// The client's turn, and the time that is left for it.
    waiting: Option<(u64, Pin<Box<Sleep>>)>,
    meters: Arc<PortMeters>,
}

impl<F: Future<Output = ()>> Future for WatchedStream<F> {
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

    /// Runs a stream whose turns are sent by `script`. Returns after how long it ended.
    async fn ended(script: impl FnOnce(mpsc::Sender<bool>)) -> Duration {
        let began = Instant::now();
        let (sender, mut turns) = mpsc::channel(16);
        script(sender);
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
    async fn stream_is_dropped_when_its_client_reads_nothing() {
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
    async fn each_frame_restarts_the_time_and_a_slow_service_costs_none() {
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
