//! Connections of clients and their bytes, by the port of their listener.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Samples;
use crate::telemetry::names;

/// Why the host closed a connection, or a stream of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The head of a request was not complete in time.
    Head,
    /// There was no request for too long.
    Idle,
    /// The client does not read.
    Stalled,
    /// The connection was idle, and another one needed its place.
    Evicted,
    /// The client address already has its share of connections, and all of them are busy.
    Share,
    /// The TLS handshake failed: the name, the version, or the client's certificate.
    Handshake,
}

/// Counts of one port, for as long as it is open or has connections.
#[derive(Debug, Default)]
pub(crate) struct PortMeters {
    pub open: AtomicI64,
    pub accepted: AtomicU64,
    pub received: AtomicU64,
    pub sent: AtomicU64,
    /// Connections that the host closed, in the order of [`CloseReason::ALL`].
    closed: [AtomicU64; CloseReason::ALL.len()],
}

impl PortMeters {
    /// The host closed a connection, or a stream of one.
    pub(crate) fn closed(&self, reason: CloseReason) {
        let counts = CloseReason::ALL.iter().zip(&self.closed);
        for (_, count) in counts.filter(|(known, _)| **known == reason) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// How often the host closed one for `reason`.
    #[cfg(test)]
    pub(crate) fn closed_for(&self, reason: CloseReason) -> u64 {
        let counts = CloseReason::ALL.iter().zip(&self.closed);
        let of_reason = counts.filter(|(known, _)| **known == reason);
        of_reason.map(|(_, count)| count.load(Relaxed)).sum()
    }
}

impl CloseReason {
    pub(crate) const ALL: [Self; 6] = [
        Self::Head,
        Self::Idle,
        Self::Stalled,
        Self::Evicted,
        Self::Share,
        Self::Handshake,
    ];

    /// The name in metrics and in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Head => "head_timeout",
            Self::Idle => "idle_timeout",
            Self::Stalled => "stalled",
            Self::Evicted => "evicted",
            Self::Share => "client_limit",
            Self::Handshake => "handshake_failed",
        }
    }
}

/// All ports.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<BTreeMap<u16, Weak<PortMeters>>>);

impl Ports {
    /// The counts of `port`, which are shared if they exist already.
    pub(crate) fn of(&self, port: u16) -> Arc<PortMeters> {
        let mut known = self.0.lock();
        let known = known.entry(port).or_default();
        known.upgrade().unwrap_or_else(|| {
            let begun = Arc::<PortMeters>::default();
            *known = Arc::downgrade(&begun);
            begun
        })
    }

    pub(crate) fn sample(&self, samples: &mut Samples) {
        let mut known = self.0.lock();
        known.retain(|_, meters| meters.strong_count() > 0);
        for (port, meters) in known.iter() {
            let Some(meters) = meters.upgrade() else {
                continue;
            };
            let port = port.to_string();
            let labels = [port.as_str()];
            let open = meters.open.load(Relaxed) as f64;
            samples.set(&names::CONNECTIONS, &labels, open);
            for (metric, count) in [
                (&names::CONNECTIONS_ACCEPTED, &meters.accepted),
                (&names::RECEIVED_BYTES, &meters.received),
                (&names::SENT_BYTES, &meters.sent),
            ] {
                samples.count(metric, &labels, count.load(Relaxed));
            }
            for (reason, count) in CloseReason::ALL.iter().zip(&meters.closed) {
                let labels = [port.as_str(), reason.name()];
                samples.count(&names::CONNECTIONS_CLOSED, &labels, count.load(Relaxed));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_a_port_live_as_long_as_anything_uses_them() {
        let ports = Ports::default();
        let first = ports.of(80);
        first.accepted.fetch_add(1, Relaxed);
        assert_eq!(ports.of(80).accepted.load(Relaxed), 1);
        drop(first);
        assert_eq!(ports.of(80).accepted.load(Relaxed), 0);
    }
}
