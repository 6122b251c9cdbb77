//! How many requests a caller may have in progress at a cluster, and how many may
//! wait: `trafficPolicy.connectionPool`.
//!
//! Envoy counts connections, requests and pending requests. There are no connections
//! within a process, so each field limits what it amounts to:
//!
//! - `http.http2MaxRequests`: requests in progress. One more is refused.
//! - `tcp.maxConnections`: a connection of HTTP/1.1 carries one request at a time, so this
//!   too limits requests in progress, but one more waits. Ports that speak HTTP/2 share a
//!   connection; for them it limits nothing.
//! - `http.http1MaxPendingRequests`: requests that may wait. One more is refused.
//!
//! A refused request is answered with 503 UO. The number of waiting requests is limited;
//! the time that one waits is limited only by its deadline.

mod gate;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use galleria_manifest::model::{ConnectionPool, Protocol};

use super::state::ClientState;
use crate::LocalReply;
pub(crate) use gate::Gate;
pub use gate::{Admission, RequestPermit};

/// How many requests may wait where `http1MaxPendingRequests` is absent. Istio's default
/// is 2³²−1, but each waiting request takes memory.
const PENDING_MAX: u32 = 65_536;

/// The limits of one cluster; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) requests: Option<u32>,
    pub(crate) connections: Option<u32>,
    pub(crate) pending: u32,
    pub(crate) retries: Option<u32>,
}

/// Permission for one retry to be in progress (`connectionPool.http.maxRetries`).
#[derive(Debug)]
pub struct RetryPermit {
    /// `None` where the cluster has no limit.
    client: Option<Arc<ClientState>>,
}

impl Limits {
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

    /// Whether requests are counted at all.
    pub(crate) fn are_some(&self) -> bool {
        self.requests.is_some() || self.connections.is_some()
    }

    /// Whether one more request would be refused.
    pub(crate) fn are_reached(&self, active: u32, pending: usize) -> bool {
        let must_wait = active >= self.in_progress();
        let requests = self.requests.unwrap_or(u32::MAX);
        must_wait && (active >= requests || pending >= self.pending as usize)
    }

    /// How many requests may be in progress: the lower of the two limits.
    fn in_progress(&self) -> u32 {
        let requests = self.requests.unwrap_or(u32::MAX);
        requests.min(self.connections.unwrap_or(u32::MAX))
    }
}

/// Asks for a permit.
///
/// # Errors
/// 503 UO if the limit of requests is reached, or the queue is full.
pub(crate) fn acquire(client: &Arc<ClientState>, limits: &Limits) -> Result<Admission, LocalReply> {
    if !limits.are_some() {
        return Ok(Admission::without_limit());
    }
    let admission = Gate::enter(client, limits);
    admission.ok_or_else(|| {
        client.counts.overflows.fetch_add(1, Ordering::Relaxed);
        LocalReply::overflow()
    })
}

/// Asks for permission to retry; `None` where `maxRetries` are in progress.
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

    #[test]
    fn retries_in_progress_are_limited() {
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
}
