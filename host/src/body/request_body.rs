//! The body of a client's request, which must arrive in time. Only the time counts in
//! which the host waits for the client: a service that reads slowly costs the client
//! nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

/// Why a request body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error(transparent)]
    Connection(hyper::Error),
    #[error("the request body arrived too slowly")]
    TooSlow,
}

/// How fast a client has to send a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The longest pause.
    pub pause: Duration,
    /// Bytes that end a pause.
    pub window_min: u64,
    /// The rate of a whole body; None for a stream of messages, which can be quiet but
    /// not for ever.
    pub whole: Option<WholeBody>,
}

/// The rate of a body that is sent in one go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WholeBody {
    /// Pauses that a body can make altogether.
    pub pauses: u32,
    /// Bytes each second; sending at this rate takes nothing from the pauses.
    pub rate_min: u64,
}

/// A body with a [`Pace`]. Its reader gets an error when the body is too slow.
pub(crate) struct RequestBody {
    inner: Incoming,
    /// None if there is no body.
    clock: Option<Box<Clock>>,
}

/// What is left of a client's time.
struct Clock {
    pace: Pace,
    received: u64,
    /// Time spent waiting for the client.
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// When the current pause began, in time waited, and the bytes received since.
    window: (Duration, u64),
    is_over: bool,
    over: Arc<Notify>,
}

impl RequestBody {
    /// `body`, and a notification that it was too slow; None if there is no body.
    pub(crate) fn new(body: Incoming, pace: impl FnOnce() -> Pace) -> (Self, Option<Arc<Notify>>) {
        if body.is_end_stream() {
            let body = Self {
                inner: body,
                clock: None,
            };
            return (body, None);
        }
        let clock = Clock::new(pace());
        let over = clock.over.clone();
        let body = Self {
            inner: body,
            clock: Some(Box::new(clock)),
        };
        (body, Some(over))
    }
}

impl Clock {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
            window: (Duration::ZERO, 0),
            is_over: false,
            over: Arc::default(),
        }
    }

    /// Bytes have arrived.
    fn received(&mut self, count: u64) {
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        self.received = self.received.saturating_add(count);
        let (_, in_window) = &mut self.window;
        *in_window = in_window.saturating_add(count);
        if *in_window >= self.pace.window_min {
            self.window = (self.waited, 0);
        }
    }

    /// Nothing has arrived yet; ready when the client's time is over.
    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let left = self.left();
        let (_, timer) = self
            .waiting
            .get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(left))));
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.is_over = true;
        self.over.notify_one();
        Poll::Ready(())
    }

    /// How long the host waits from now on.
    fn left(&self) -> Duration {
        let (begun, _) = self.window;
        let pause = self.pace.pause;
        let of_pause = (begun + pause).saturating_sub(self.waited);
        match self.pace.whole {
            None => of_pause,
            Some(WholeBody { pauses, rate_min }) => {
                let earned = Duration::from_secs(self.received / rate_min.max(1));
                let total = pause.saturating_mul(pauses).saturating_add(earned);
                of_pause.min(total.saturating_sub(self.waited))
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let this = &mut *self;
        if this.clock.as_ref().is_some_and(|clock| clock.is_over) {
            return Poll::Ready(Some(Err(RequestBodyError::TooSlow)));
        }
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        let Some(clock) = &mut this.clock else {
            return polled.map_err(RequestBodyError::Connection);
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                clock.received(count as u64);
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                if clock.poll_over(context).is_ready() {
                    return Poll::Ready(Some(Err(RequestBodyError::TooSlow)));
                }
            }
        }
        polled.map_err(RequestBodyError::Connection)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);
    const RATE_MIN: u64 = 4 << 10;

    const WHOLE: Pace = Pace {
        pause: PAUSE,
        window_min: 1 << 10,
        whole: Some(WholeBody {
            pauses: 6,
            rate_min: RATE_MIN,
        }),
    };

    const MESSAGES: Pace = Pace {
        pause: PAUSE,
        window_min: 1,
        whole: None,
    };

    /// Sends `count` bytes every `every`. Returns after how many seconds and bytes the
    /// host gives up; None if it does not within a day.
    async fn given_up(pace: Pace, count: u64, every: Duration) -> Option<(u64, u64)> {
        let mut clock = Clock::new(pace);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(86_400) {
            let over = std::future::poll_fn(|context| clock.poll_over(context));
            if tokio::time::timeout(every, over).await.is_ok() {
                return Some((began.elapsed().as_secs(), clock.received));
            }
            clock.received(count);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn silent_and_trickling_bodies_are_given_up_after_one_pause() {
        let silent = given_up(WHOLE, 0, PAUSE * 2).await;
        assert_eq!(silent, Some((10, 0)));
        let trickling = given_up(WHOLE, 1, Duration::from_secs(1)).await;
        assert!(matches!(trickling, Some((10, _))), "{trickling:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_pauses_again_and_again_is_given_up_after_the_total() {
        let slow = given_up(WHOLE, 1_024, Duration::from_secs(9)).await;
        let (seconds, _) = slow.expect("an end");
        assert!((60..=63).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn long_upload_that_keeps_its_rate_is_accepted() {
        let steady = given_up(WHOLE, 2 * RATE_MIN, Duration::from_secs(1)).await;
        assert_eq!(steady, None);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_can_be_small_and_rare_but_must_arrive() {
        assert_eq!(
            given_up(MESSAGES, 1, PAUSE - Duration::from_secs(1)).await,
            None
        );
        let silent = given_up(MESSAGES, 1, PAUSE * 2).await;
        assert_eq!(silent, Some((10, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let mut clock = Clock::new(WHOLE);
        for _ in 0..100 {
            let over = std::future::poll_fn(|context| clock.poll_over(context));
            let soon = Duration::from_millis(10);
            assert!(tokio::time::timeout(soon, over).await.is_err());
            clock.received(1);
            // The service computes.
            tokio::time::sleep(PAUSE).await;
        }
    }
}
