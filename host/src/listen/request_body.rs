//! The body of a client's request, which must come in time. Only time counts in
//! which the host waits for the client: a service that reads slowly costs it nothing.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::limits::{BODY_PAUSES, BODY_RATE_MIN, BODY_WINDOW_MIN};
use crate::settings::listen::ClientTimeouts;

/// Why a request's body cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error(transparent)]
    Connection(hyper::Error),
    #[error("the request body arrived too slowly")]
    TooSlow,
}

/// A body with its time, whose reader gets an error when that is over.
pub(crate) struct RequestBody {
    inner: Incoming,
    /// None where there is no body.
    pace: Option<Box<Pace>>,
}

/// What a body may take of time.
struct Pace {
    rule: Rule,
    received: u64,
    /// Time that was spent waiting for the client.
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
    /// When the pause that may be made now began, in time waited, and what has come since.
    window: (Duration, u64),
    is_over: bool,
    over: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
enum Rule {
    /// A whole body, which must keep a rate.
    Whole { pause: Duration },
    /// A stream of messages, which may be quiet, but not for ever.
    Messages { pause: Duration },
}

impl RequestBody {
    /// `body` of a request with `headers`, and how to hear that it was too slow;
    /// None where there is no body.
    pub(super) fn new(
        body: Incoming,
        headers: &HeaderMap,
        timeouts: &ClientTimeouts,
    ) -> (Self, Option<Arc<Notify>>) {
        if body.is_end_stream() {
            return (
                Self {
                    inner: body,
                    pace: None,
                },
                None,
            );
        }
        let rule = match is_grpc(headers) {
            true => Rule::Messages {
                pause: timeouts.grpc,
            },
            false => Rule::Whole {
                pause: timeouts.body,
            },
        };
        let pace = Pace::new(rule);
        let over = pace.over.clone();
        let body = Self {
            inner: body,
            pace: Some(Box::new(pace)),
        };
        (body, Some(over))
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

impl Pace {
    fn new(rule: Rule) -> Self {
        Self {
            rule,
            received: 0,
            waited: Duration::ZERO,
            waiting: None,
            window: (Duration::ZERO, 0),
            is_over: false,
            over: Arc::default(),
        }
    }

    /// Bytes came.
    fn received(&mut self, count: u64) {
        if let Some((since, _)) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        self.received = self.received.saturating_add(count);
        let (_, in_window) = &mut self.window;
        *in_window = in_window.saturating_add(count);
        if *in_window >= self.window_min() {
            self.window = (self.waited, 0);
        }
    }

    /// Nothing is there yet; ready when the client's time is over.
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

    /// Bytes that end a pause.
    fn window_min(&self) -> u64 {
        match self.rule {
            Rule::Whole { .. } => BODY_WINDOW_MIN,
            Rule::Messages { .. } => 1,
        }
    }

    /// How long the host waits now.
    fn left(&self) -> Duration {
        let (begun, _) = self.window;
        let (Rule::Whole { pause } | Rule::Messages { pause }) = self.rule;
        let of_pause = (begun + pause).saturating_sub(self.waited);
        match self.rule {
            Rule::Messages { .. } => of_pause,
            Rule::Whole { .. } => {
                let earned = Duration::from_secs(self.received / BODY_RATE_MIN);
                let total = pause.saturating_mul(BODY_PAUSES).saturating_add(earned);
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
        if this.pace.as_ref().is_some_and(|pace| pace.is_over) {
            return Poll::Ready(Some(Err(RequestBodyError::TooSlow)));
        }
        let polled = Pin::new(&mut this.inner).poll_frame(context);
        let Some(pace) = &mut this.pace else {
            return polled.map_err(RequestBodyError::Connection);
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let count = frame.data_ref().map_or(0, Bytes::len);
                pace.received(count as u64);
            }
            Poll::Ready(_) => {}
            Poll::Pending => {
                if pace.poll_over(context).is_ready() {
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

    /// Sends `count` bytes every `every` to a host that waits; after how long it
    /// gives up, and after how many bytes. None where it does not within a day.
    async fn given_up(rule: Rule, count: u64, every: Duration) -> Option<(u64, u64)> {
        let mut pace = Pace::new(rule);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(86_400) {
            let over = std::future::poll_fn(|context| pace.poll_over(context));
            if tokio::time::timeout(every, over).await.is_ok() {
                return Some((began.elapsed().as_secs(), pace.received));
            }
            pace.received(count);
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn silent_and_trickling_bodies_are_given_up_after_one_pause() {
        let rule = Rule::Whole { pause: PAUSE };
        let silent = given_up(rule, 0, PAUSE * 2).await;
        assert_eq!(silent, Some((10, 0)));
        let trickling = given_up(rule, 1, Duration::from_secs(1)).await;
        assert!(matches!(trickling, Some((10, _))), "{trickling:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_pauses_again_and_again_is_given_up_after_the_total() {
        let rule = Rule::Whole { pause: PAUSE };
        let slow = given_up(rule, 1_024, Duration::from_secs(9)).await;
        let (seconds, _) = slow.expect("an end");
        assert!((60..=63).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn long_upload_that_keeps_its_rate_is_taken() {
        let rule = Rule::Whole { pause: PAUSE };
        let steady = given_up(rule, 2 * BODY_RATE_MIN, Duration::from_secs(1)).await;
        assert_eq!(steady, None);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_may_be_small_and_rare_but_must_come() {
        let rule = Rule::Messages { pause: PAUSE };
        assert_eq!(
            given_up(rule, 1, PAUSE - Duration::from_secs(1)).await,
            None
        );
        let silent = given_up(rule, 1, PAUSE * 2).await;
        assert_eq!(silent, Some((10, 0)));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_for_the_client_does_not_count() {
        let mut pace = Pace::new(Rule::Whole { pause: PAUSE });
        for _ in 0..100 {
            let over = std::future::poll_fn(|context| pace.poll_over(context));
            let soon = Duration::from_millis(10);
            assert!(tokio::time::timeout(soon, over).await.is_err());
            pace.received(1);
            // The service computes.
            tokio::time::sleep(PAUSE).await;
        }
    }

    #[test]
    fn grpc_is_known_by_its_type() {
        let of = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
            is_grpc(&headers)
        };
        assert!(of("application/grpc") && of("application/grpc+proto"));
        assert!(!of("application/json") && !is_grpc(&HeaderMap::new()));
    }
}
