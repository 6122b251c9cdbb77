//! How many requests a caller may have under way at a cluster, and how many may
//! wait: `trafficPolicy.connectionPool`.
//!
//! Envoy counts connections, requests and pending requests. In process there
//! are no connections, so the fields mean what they amount to there:
//!
//! - `http.http2MaxRequests`: requests under way. One more is refused.
//! - `tcp.maxConnections`: a connection of HTTP/1.1 carries one request, so this
//!   too is a number of requests under way, but one more waits for a place.
//!   Ports that speak HTTP/2 share a connection; there it limits nothing.
//! - `http.http1MaxPendingRequests`: requests that may wait for such a place.
//!   One more is refused.
//!
//! Refused is 503 UO. A waiting request waits as long as its caller's deadline
//! lets it; there is no other limit on the time, but one on the number.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use galleria_manifest::model::{ConnectionPool, Protocol};

use super::state::ClientState;
use crate::LocalReply;

/// Requests that wait where `http1MaxPendingRequests` is absent. Istio has
/// 2³²−1 there; each waiting request holds memory, so here it has an end.
const PENDING_MAX: u32 = 65_536;

/// The limits of one cluster; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) requests: Option<u32>,
    pub(crate) connections: Option<u32>,
    pub(crate) pending: u32,
    pub(crate) retries: Option<u32>,
}

/// The right to have one request (with all its tries) under way at a cluster.
/// Hold it until the response's body has ended; dropping it lets the next in.
#[derive(Debug)]
pub struct RequestPermit {
    /// `None` where the cluster has no limit.
    client: Option<Arc<ClientState>>,
}

/// The right to have one retry under way (`connectionPool.http.maxRetries`).
#[derive(Debug)]
pub struct RetryPermit {
    client: Option<Arc<ClientState>>,
}

/// Waits for the permit; ready at once where no limit is reached. Dropping it
/// leaves the queue. How long it may wait is the caller's deadline.
#[derive(Debug)]
#[must_use = "a request may only go on once it is admitted"]
pub struct Admission {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Admitted(Option<RequestPermit>),
    Waiting {
        client: Arc<ClientState>,
        waiter: Arc<Waiter>,
    },
}

/// The requests under way and those that wait, in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: u32,
    /// Of the latest snapshot that asked.
    limit: u32,
    queue: VecDeque<Arc<Waiter>>,
}

#[derive(Debug, Default)]
struct Waiter {
    ticket: Mutex<Ticket>,
}

/// Locked only after the gate's places, or alone.
#[derive(Debug, Default)]
struct Ticket {
    granted: bool,
    waker: Option<Waker>,
}

impl Limits {
    /// Whether requests are counted at all.
    pub(crate) fn are_some(&self) -> bool {
        self.requests.is_some() || self.connections.is_some()
    }

    /// Whether one more request would be refused.
    pub(crate) fn are_reached(&self, active: u32, pending: usize) -> bool {
        let requests = self.requests.unwrap_or(u32::MAX);
        let connections = self.connections.unwrap_or(u32::MAX);
        let must_wait = active >= requests.min(connections);
        must_wait && (active >= requests || pending >= self.pending as usize)
    }

    pub(crate) const NONE: Self = Self {
        requests: None,
        connections: None,
        pending: PENDING_MAX,
        retries: None,
    };

    /// A value of 0 means unset, as in Envoy.
    pub(crate) fn new(pool: Option<&ConnectionPool>, protocol: Protocol) -> Self {
        let Some(pool) = pool else { return Self::NONE };
        let set = |value: Option<u32>| value.filter(|value| *value > 0);
        let shares_connections = matches!(protocol, Protocol::Http2 | Protocol::Grpc);
        Self {
            requests: set(pool.http2_max_requests),
            connections: set(pool.tcp_max_connections).filter(|_| !shares_connections),
            pending: set(pool.http1_max_pending_requests).unwrap_or(PENDING_MAX),
            retries: set(pool.max_retries),
        }
    }
}

/// Asks for a place.
///
/// # Errors
/// 503 UO where the requests, or the queue, are full.
pub(crate) fn acquire(client: &Arc<ClientState>, limits: &Limits) -> Result<Admission, LocalReply> {
    if !limits.are_some() {
        let permit = RequestPermit { client: None };
        return Ok(Admission {
            stage: Stage::Admitted(Some(permit)),
        });
    }
    let requests = limits.requests.unwrap_or(u32::MAX);
    let connections = limits.connections.unwrap_or(u32::MAX);
    let mut places = client.gate.places.lock();
    places.limit = requests.min(connections);
    if places.taken < places.limit {
        places.taken += 1;
        let permit = RequestPermit {
            client: Some(Arc::clone(client)),
        };
        return Ok(Admission {
            stage: Stage::Admitted(Some(permit)),
        });
    }
    if limits.are_reached(places.taken, places.queue.len()) {
        client.counts.overflows.fetch_add(1, Ordering::Relaxed);
        return Err(LocalReply::overflow());
    }
    let waiter = Arc::new(Waiter::default());
    places.queue.push_back(Arc::clone(&waiter));
    Ok(Admission {
        stage: Stage::Waiting {
            client: Arc::clone(client),
            waiter,
        },
    })
}

/// Asks for one of the retries under way; `None` where they are used up.
pub(crate) fn acquire_retry(client: &Arc<ClientState>, limits: &Limits) -> Option<RetryPermit> {
    let Some(limit) = limits.retries else {
        client.counts.retries.fetch_add(1, Ordering::Relaxed);
        return Some(RetryPermit { client: None });
    };
    let more = |retries: u32| (retries < limit).then(|| retries + 1);
    let taken = client
        .retries
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    if taken.is_err() {
        client.counts.overflows.fetch_add(1, Ordering::Relaxed);
        return None;
    }
    client.counts.retries.fetch_add(1, Ordering::Relaxed);
    Some(RetryPermit {
        client: Some(Arc::clone(client)),
    })
}

impl Gate {
    /// Requests under way and waiting, as far as limits made them count.
    pub(crate) fn occupancy(&self) -> (u32, usize) {
        let places = self.places.lock();
        (places.taken, places.queue.len())
    }

    /// Gives one place back and lets in as many as there is room for.
    fn release(&self) {
        let mut woken = Vec::new();
        {
            let mut places = self.places.lock();
            places.taken = places.taken.saturating_sub(1);
            while places.taken < places.limit {
                let Some(waiter) = places.queue.pop_front() else {
                    break;
                };
                places.taken += 1;
                let mut ticket = waiter.ticket.lock();
                ticket.granted = true;
                woken.extend(ticket.waker.take());
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }

    /// Takes a waiter out; whether it had been granted a place already.
    fn leave(&self, waiter: &Arc<Waiter>) -> bool {
        let mut places = self.places.lock();
        places.queue.retain(|other| !Arc::ptr_eq(other, waiter));
        waiter.ticket.lock().granted
    }
}

impl Admission {
    /// Whether there was no place at once.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting { .. })
    }
}

impl Future for Admission {
    type Output = RequestPermit;

    /// Must not be polled again after it was ready.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<RequestPermit> {
        match &mut self.stage {
            Stage::Admitted(permit) => match permit.take() {
                Some(permit) => Poll::Ready(permit),
                None => Poll::Pending,
            },
            Stage::Waiting { client, waiter } => {
                let mut ticket = waiter.ticket.lock();
                if !ticket.granted {
                    ticket.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                drop(ticket);
                let permit = RequestPermit {
                    client: Some(Arc::clone(client)),
                };
                self.stage = Stage::Admitted(None);
                Poll::Ready(permit)
            }
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Stage::Waiting { client, waiter } = &self.stage
            && client.gate.leave(waiter)
        {
            client.gate.release();
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.gate.release();
        }
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.retries.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(admission: &mut Admission) -> Poll<RequestPermit> {
        Pin::new(admission).poll(&mut Context::from_waker(Waker::noop()))
    }

    fn admitted(client: &Arc<ClientState>, limits: &Limits) -> RequestPermit {
        match poll(&mut acquire(client, limits).expect("not full")) {
            Poll::Ready(permit) => permit,
            Poll::Pending => panic!("had to wait"),
        }
    }

    #[test]
    fn a_request_over_max_requests_is_refused_at_once() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            requests: Some(2),
            ..Limits::NONE
        };
        let first = admitted(&client, &limits);
        let _second = admitted(&client, &limits);
        assert_eq!(
            acquire(&client, &limits).unwrap_err(),
            LocalReply::overflow()
        );
        drop(first);
        admitted(&client, &limits);
    }

    #[test]
    fn a_request_over_max_connections_waits_and_one_over_pending_is_refused() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            connections: Some(1),
            pending: 1,
            ..Limits::NONE
        };
        let first = admitted(&client, &limits);
        let mut second = acquire(&client, &limits).expect("may wait");
        assert!(second.is_waiting() && poll(&mut second).is_pending());
        assert!(acquire(&client, &limits).is_err());
        drop(first);
        let Poll::Ready(permit) = poll(&mut second) else {
            panic!("has its turn")
        };
        assert_eq!(client.gate.occupancy(), (1, 0));
        drop((second, permit));
        assert_eq!(client.gate.occupancy(), (0, 0));
    }

    #[test]
    fn whoever_gives_up_waiting_keeps_nobody_else_out() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            connections: Some(1),
            pending: 2,
            ..Limits::NONE
        };
        let first = admitted(&client, &limits);
        let second = acquire(&client, &limits).expect("may wait");
        let mut third = acquire(&client, &limits).expect("may wait");
        drop(second);
        drop(first);
        assert!(poll(&mut third).is_ready());
    }

    #[test]
    fn a_place_granted_to_someone_who_left_goes_to_the_next() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            connections: Some(1),
            pending: 2,
            ..Limits::NONE
        };
        let first = admitted(&client, &limits);
        let second = acquire(&client, &limits).expect("may wait");
        let mut third = acquire(&client, &limits).expect("may wait");
        drop(first);
        drop(second);
        assert!(poll(&mut third).is_ready());
    }

    #[test]
    fn without_limits_nobody_waits_or_counts() {
        let client = Arc::new(ClientState::default());
        let permits: Vec<_> = (0..1000)
            .map(|_| admitted(&client, &Limits::NONE))
            .collect();
        assert_eq!(client.gate.occupancy(), (0, 0));
        drop(permits);
    }

    #[test]
    fn retries_under_way_are_limited() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            retries: Some(1),
            ..Limits::NONE
        };
        let first = acquire_retry(&client, &limits);
        assert!(first.is_some());
        assert!(acquire_retry(&client, &limits).is_none());
        drop(first);
        assert!(acquire_retry(&client, &limits).is_some());
    }

    #[test]
    fn an_http2_port_is_not_limited_by_connections() {
        let pool = ConnectionPool {
            tcp_max_connections: Some(1),
            ..Default::default()
        };
        assert_eq!(Limits::new(Some(&pool), Protocol::Http2), Limits::NONE);
        assert_eq!(
            Limits::new(Some(&pool), Protocol::Http).connections,
            Some(1)
        );
    }

    #[test]
    fn under_contention_nobody_is_forgotten_and_the_limit_holds() {
        struct Unpark(std::thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            connections: Some(2),
            ..Limits::NONE
        };
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
                    for _ in 0..2000 {
                        let mut admission = acquire(&client, &limits).expect("may wait");
                        let mut context = Context::from_waker(&waker);
                        let permit = loop {
                            match Pin::new(&mut admission).poll(&mut context) {
                                Poll::Ready(permit) => break permit,
                                Poll::Pending => std::thread::park(),
                            }
                        };
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert_eq!(client.gate.occupancy(), (0, 0));
    }
}
