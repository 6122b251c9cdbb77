//! The limits of all listeners: how long a client may take for each step, how much it may send
//! at once, and how many connections there are.

use std::time::Duration;

use galleria_mesh::edge::FIELDS_MAX;

use super::descriptors::Budget;
use crate::remote::{HTTP2_HEAD_MAX, PEER_CONNECTION_WINDOW, PEER_STREAMS_MAX};

/// Connections that one listener keeps open. Further ones wait to be accepted.
const LISTENER_MAX: usize = 10_000;

/// The minimum number of connections per client address: a proxy or an office may be behind one
/// address.
const SHARE_MIN: usize = 100;

/// The part of a group's connections that one client address may have: a quarter, so that no
/// single machine can occupy a listener.
const SHARE: usize = 4;

/// Bytes of the fields of a client's request, for both HTTP versions.
const CLIENT_HEAD_MAX: usize = 64 << 10;

/// The head of a request, for both HTTP versions.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

impl HeadLimits {
    /// Hosts pass on what a client or a guest has sent, with fields of their own.
    pub(super) fn of(for_hosts: bool) -> Self {
        match for_hosts {
            true => Self {
                bytes: HTTP2_HEAD_MAX as usize,
                fields: usize::MAX,
            },
            false => Self {
                bytes: CLIENT_HEAD_MAX,
                fields: FIELDS_MAX,
            },
        }
    }
}

// A head with more bytes than HTTP/2 announces ends the connection, and with it the other
// requests on it, so HTTP/2 announces more than a client may send.
const _: () = assert!(HTTP2_HEAD_MAX as usize >= 4 * CLIENT_HEAD_MAX);

/// The maximum duration of a TLS handshake, within the time for the first head.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// The age at which the client of a connection is asked to open another: long enough to cost
/// nothing, short enough that clients spread over the hosts again.
pub(super) const AGE_MAX: Duration = Duration::from_secs(3_600);

/// How long a stopping listener waits for requests that are already on their way, so that each
/// client can be notified that its connection closes. Clients under load send their next
/// request within this time; others only lose an idle connection.
pub(super) const DRAIN_GRACE: Duration = Duration::from_secs(2);

/// How long a connection that was asked to close may take to do so.
pub(super) const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Bytes per second below which a client counts as stalled while a response waits for it.
pub(super) const READ_RATE_MIN: u64 = 1 << 10;

/// Bytes of a request's body that must arrive between two pauses.
pub(super) const BODY_WINDOW_MIN: u64 = 1 << 10;

/// The number of pauses that a request's body may take. The total time is longer by the time
/// that its bytes take at [`BODY_RATE_MIN`].
pub(super) const BODY_PAUSES: u32 = 6;

/// The minimum rate of a long upload, in bytes per second.
pub(super) const BODY_RATE_MIN: u64 = 4 << 10;

/// Concurrent requests of one HTTP/2 connection.
pub(super) const STREAMS_MAX: u32 = 100;

/// Bytes that one HTTP/2 stream, and one connection, may receive before the host has read
/// them: what uploads cost in memory.
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;

// The connecting host sets the limits of a connection between hosts. It has room for the window
// of every stream.
const _: () = assert!(PEER_CONNECTION_WINDOW >= PEER_STREAMS_MAX * STREAM_WINDOW);

/// Bytes of one HTTP/2 stream that are buffered for the client.
pub(super) const SEND_BUFFER: usize = 64 << 10;

/// Streams that a client reset before they were handled, and streams that were reset because of
/// the client's errors. More of them close the connection.
pub(super) const RESET_STREAMS_MAX: usize = 20;
pub(super) const ERROR_STREAMS_MAX: usize = 128;

/// The interval of PINGs to HTTP/2 clients, and the time for the answer.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of connections of each kind of listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacities {
    pub traffic: Capacity,
    pub status: Capacity,
    pub admin: Capacity,
    /// The Unix socket.
    pub socket: Capacity,
}

/// The number of connections of a group of listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// All listeners of the group together.
    pub total: usize,
    /// One listener.
    pub listener: usize,
    /// One client address.
    pub client: usize,
}

impl Capacities {
    /// Divides half of the process's descriptors. `client` is `--client-connections`.
    pub(crate) fn of(budget: Budget, client: Option<usize>) -> Self {
        let connections = budget.connections();
        // Reserved, so that traffic cannot use them; few if there are few descriptors.
        let status = (connections / 8).min(256);
        let admin = (connections / 8).min(1_000);
        let socket = (connections / 16).min(64);
        let traffic = connections.saturating_sub(status + admin + socket).max(1);
        Self {
            traffic: Capacity::new(traffic, client),
            status: Capacity::new(status, None),
            admin: Capacity::new(admin, None),
            socket: Capacity::new(socket, None),
        }
    }
}

impl Capacity {
    fn new(total: usize, client: Option<usize>) -> Self {
        let total = total.max(1);
        let listener = total.min(LISTENER_MAX);
        Self {
            total,
            listener,
            client: client.unwrap_or_else(|| (listener / SHARE).max(SHARE_MIN)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_has_connections_however_few_descriptors_there_are() {
        for descriptors in [64, 256, 1_024, 20_000, 1 << 20] {
            let budget = Budget::of(descriptors);
            let all = Capacities::of(budget, None);
            let groups = [all.traffic, all.status, all.admin, all.socket];
            let sum: usize = groups.iter().map(|group| group.total).sum();
            assert!(sum <= budget.connections().max(4), "{descriptors}: {sum}");
            assert!(groups.iter().all(|group| group.total > 0), "{descriptors}");
        }
        let usual = Capacities::of(Budget::of(1_024), None);
        assert_eq!((usual.traffic.total, usual.status.total), (352, 64));
    }

    #[test]
    fn client_has_a_quarter_unless_set_otherwise() {
        let share = |client| Capacities::of(Budget::of(1 << 20), client).traffic.client;
        assert_eq!(share(None), LISTENER_MAX / SHARE);
        assert_eq!(share(Some(7)), 7);
        let few = Capacities::of(Budget::of(1_024), None);
        assert_eq!(few.traffic.client, SHARE_MIN);
    }
}
