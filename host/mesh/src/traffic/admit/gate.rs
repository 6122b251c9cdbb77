//! The requests in progress at a cluster, and the queue of those that wait.
//!
//! The queue is first in, first out, and every operation on it takes logarithmic time,
//! also when a caller gives up in the middle of a full queue. One lock guards all of it.
//! No waker is called or dropped while it is held: that may drop a task, and with it an
//! [`Admission`] of the same gate.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::Limits;
use crate::traffic::state::ClientState;

/// Permission for one request, with all its attempts, to be in progress at a cluster.
/// Hold it until the response's body has ended: dropping it admits the next request.
#[derive(Debug)]
pub struct RequestPermit {
    /// `None` where the cluster has no limit.
    client: Option<Arc<ClientState>>,
}

/// A future for the permit; ready at once where no limit is reached. Dropping it leaves
/// the queue. The caller's deadline limits how long it waits.
#[derive(Debug)]
#[must_use = "a request goes on only once it is admitted"]
pub struct Admission {
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Admitted(Option<RequestPermit>),
    Waiting {
        client: Arc<ClientState>,
        ticket: u64,
    },
}

/// The requests of one caller at one cluster, in progress and waiting.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    requests: Mutex<Requests>,
}

#[derive(Debug, Default)]
struct Requests {
    in_progress: u32,
    /// The limit of the latest snapshot that was used.
    limit: u32,
    /// By ticket, in the order of arrival, with what wakes each request. A ticket that is
    /// no longer here is admitted: a request that gives up removes its own.
    waiting: BTreeMap<u64, Option<Waker>>,
    next_ticket: u64,
}

impl Gate {
    /// Admits a request or lets it wait; `None` if the limits refuse it.
    pub(super) fn enter(client: &Arc<ClientState>, limits: &Limits) -> Option<Admission> {
        let mut requests = client.gate.requests.lock();
        requests.limit = limits.in_progress();
        if requests.in_progress < requests.limit {
            requests.in_progress += 1;
            return Some(Admission::admitted(RequestPermit {
                client: Some(Arc::clone(client)),
            }));
        }
        if limits.are_reached(requests.in_progress, requests.waiting.len()) {
            return None;
        }
        let ticket = requests.next_ticket;
        requests.next_ticket += 1;
        requests.waiting.insert(ticket, None);
        Some(Admission {
            stage: Stage::Waiting {
                client: Arc::clone(client),
                ticket,
            },
        })
    }

    /// The requests in progress and the waiting requests. They are counted only if there
    /// are limits.
    pub(crate) fn occupancy(&self) -> (u32, usize) {
        let requests = self.requests.lock();
        (requests.in_progress, requests.waiting.len())
    }

    /// Ends one request, and admits as many as the limit allows.
    fn release(&self) {
        let mut admitted = Vec::new();
        {
            let mut requests = self.requests.lock();
            requests.in_progress = requests.in_progress.saturating_sub(1);
            while requests.in_progress < requests.limit {
                let Some((_, waker)) = requests.waiting.pop_first() else {
                    break;
                };
                requests.in_progress += 1;
                admitted.extend(waker);
            }
        }
        admitted.into_iter().for_each(Waker::wake);
    }

    /// Whether the ticket is admitted; if not, `waker` is called when it is.
    fn poll(&self, ticket: u64, waker: &Waker) -> bool {
        let mut requests = self.requests.lock();
        let Some(waiting) = requests.waiting.get_mut(&ticket) else {
            return true;
        };
        let is_known = waiting.as_ref().is_some_and(|known| known.will_wake(waker));
        let replaced = (!is_known).then(|| waiting.replace(waker.clone()));
        drop(requests);
        drop(replaced);
        false
    }

    /// Removes a ticket from the queue; false if it is admitted already.
    fn leave(&self, ticket: u64) -> bool {
        let removed = self.requests.lock().waiting.remove(&ticket);
        removed.is_some()
    }
}

impl Admission {
    /// Of a cluster that counts no requests.
    pub(super) fn without_limit() -> Self {
        Self::admitted(RequestPermit { client: None })
    }

    fn admitted(permit: RequestPermit) -> Self {
        Self {
            stage: Stage::Admitted(Some(permit)),
        }
    }

    /// Whether it was not admitted at once.
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
            Stage::Waiting { client, ticket } => {
                if !client.gate.poll(*ticket, context.waker()) {
                    return Poll::Pending;
                }
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
        if let Stage::Waiting { client, ticket } = &self.stage
            && !client.gate.leave(*ticket)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;

    use super::*;
    use crate::LocalReply;
    use crate::traffic::admit::{PENDING_MAX, acquire};

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
    fn a_request_that_gives_up_does_not_block_the_next() {
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
    fn the_permit_of_a_request_that_gave_up_goes_to_the_next() {
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
    fn requests_are_admitted_in_the_order_of_their_arrival() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            connections: Some(1),
            ..Limits::NONE
        };
        let mut permit = admitted(&client, &limits);
        let mut waiting: Vec<Admission> = (0..5)
            .map(|_| acquire(&client, &limits).expect("may wait"))
            .collect();
        // One in the middle gives up.
        drop(waiting.remove(2));
        while !waiting.is_empty() {
            drop(permit);
            let mut next = waiting.remove(0);
            assert!(waiting.iter_mut().all(|later| poll(later).is_pending()));
            let Poll::Ready(admitted) = poll(&mut next) else {
                panic!("it is its turn")
            };
            permit = admitted;
        }
    }

    #[test]
    fn a_limit_of_a_newer_snapshot_holds_for_those_that_wait() {
        let client = Arc::new(ClientState::default());
        let limits = |connections| Limits {
            connections: Some(connections),
            ..Limits::NONE
        };
        let first = admitted(&client, &limits(1));
        let mut second = acquire(&client, &limits(1)).expect("may wait");
        let mut third = acquire(&client, &limits(1)).expect("may wait");
        // The newer snapshot allows three; those that wait follow at the next release.
        let fourth = admitted(&client, &limits(3));
        drop(fourth);
        assert_eq!(client.gate.occupancy(), (3, 0));
        let permits = (poll(&mut second), poll(&mut third));
        assert!(permits.0.is_ready() && permits.1.is_ready());
        // With a lower limit, none is admitted until enough have ended.
        let mut fifth = acquire(&client, &limits(1)).expect("may wait");
        drop(first);
        drop(permits.0);
        assert!(poll(&mut fifth).is_pending());
        drop(permits.1);
        assert!(poll(&mut fifth).is_ready());
    }

    #[test]
    fn a_full_queue_can_be_left_in_any_order_quickly() {
        let client = Arc::new(ClientState::default());
        let limits = Limits {
            connections: Some(1),
            ..Limits::NONE
        };
        let mut rng = StdRng::seed_from_u64(1);
        let permit = admitted(&client, &limits);
        let orders: [fn(&mut Vec<Admission>, &mut StdRng); 3] = [
            |_, _| {},
            |waiting, _| waiting.reverse(),
            |waiting, rng| waiting.shuffle(rng),
        ];
        for order in orders {
            let mut waiting: Vec<Admission> = (0..PENDING_MAX)
                .map(|_| acquire(&client, &limits).expect("may wait"))
                .collect();
            assert!(acquire(&client, &limits).is_err());
            order(&mut waiting, &mut rng);
            let start = Instant::now();
            drop(waiting);
            // It takes some tens of milliseconds; searching the queue for each would take far
            // longer.
            let took = start.elapsed();
            assert!(took < Duration::from_secs(10), "{took:?}");
            assert_eq!(client.gate.occupancy(), (1, 0));
        }
        drop(permit);
    }

    #[test]
    fn without_limits_no_request_waits_or_counts() {
        let client = Arc::new(ClientState::default());
        let permits: Vec<_> = (0..1000)
            .map(|_| admitted(&client, &Limits::NONE))
            .collect();
        assert_eq!(client.gate.occupancy(), (0, 0));
        drop(permits);
    }

    #[test]
    fn under_contention_every_request_is_admitted_and_the_limit_holds() {
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
        let inside = AtomicU32::new(0);
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
