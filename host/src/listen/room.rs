//! Connection limits: the slots of a group of listeners, of each listener and of each client
//! address, and which connection is closed when none is free.
//!
//! The connection that has been idle for the longest is closed, so idle connections never keep
//! others out. A connection with a request in progress is never closed: then accepting waits,
//! and clients wait in the system's backlog.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::activity::Activity;
use super::limits::Capacity;

/// A younger connection does not count as idle: its first request may have arrived and not been
/// read yet.
const NEW: Duration = Duration::from_millis(50);

/// How often accepting checks again for a connection that can be closed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// When no slot is free, one in this many connections is closed at once, so that a flood does
/// not cause a scan of all connections for each new one.
const EVICTED_AT_ONCE: usize = 32;

/// The idle time of a connection that has sent no request yet is multiplied by this: a client
/// with occasional requests comes back, the other may never send one.
const NEVER_ASKED: u32 = 4;

/// The slots of a group of listeners.
#[derive(Debug)]
pub(crate) struct Room {
    capacity: Capacity,
    next: AtomicU64,
    open: Mutex<OpenConnections>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    connections: HashMap<u64, Connection>,
    listeners: HashMap<u64, usize>,
    clients: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    activity: Arc<Activity>,
    listener: u64,
    client: Option<IpAddr>,
}

/// The part of a room that belongs to one listener.
#[derive(Debug, Clone)]
pub(super) struct Places {
    room: Arc<Room>,
    listener: u64,
}

/// The slot of a connection, freed when dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    id: u64,
    pub(super) activity: Arc<Activity>,
}

impl Room {
    pub(crate) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            next: AtomicU64::new(0),
            open: Mutex::default(),
            freed: Notify::new(),
        })
    }

    pub(super) fn listener(self: &Arc<Self>) -> Places {
        Places {
            room: self.clone(),
            listener: self.next.fetch_add(1, Relaxed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock()
    }
}

impl Places {
    /// Waits until a slot is free, and closes idle connections to free one.
    pub(super) async fn available(&self) {
        while !self.make_room() {
            tokio::select! {
                () = self.room.freed.notified() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Whether a slot is free. If not, asks idle connections to close.
    fn make_room(&self) -> bool {
        let open = self.room.lock();
        let Capacity {
            total, listener, ..
        } = self.room.capacity;
        if open.of_listener(self.listener) >= listener {
            open.evict(share_of(listener), |it| it.listener == self.listener);
            return false;
        }
        if open.connections.len() >= total {
            open.evict(share_of(total), |_| true);
            return false;
        }
        true
    }

    /// Asks some idle connections to close, because the process has run out of descriptors.
    pub(super) fn shrink(&self) {
        let wanted = share_of(self.room.capacity.total);
        self.room.lock().evict(wanted, |_| true);
    }

    /// A slot for a connection of `client`. None if the client has its share and all of its
    /// connections are busy; otherwise one of its own idle connections is closed.
    ///
    /// Loopback has no share: its clients are a proxy on this machine, or the operator.
    pub(super) fn take(&self, client: Option<IpAddr>) -> Option<Place> {
        let client = client.map(network).filter(|client| !client.is_loopback());
        let mut open = self.room.lock();
        if let Some(client) = client
            && open.of_client(client) >= self.room.capacity.client
            && open.evict(1, |it| it.client == Some(client)) == 0
        {
            return None;
        }
        let activity = Arc::new(Activity::new());
        let id = self.room.next.fetch_add(1, Relaxed);
        let connection = Connection {
            activity: activity.clone(),
            listener: self.listener,
            client,
        };
        open.connections.insert(id, connection);
        *open.listeners.entry(self.listener).or_default() += 1;
        if let Some(client) = client {
            *open.clients.entry(client).or_default() += 1;
        }
        Some(Place {
            room: self.room.clone(),
            id,
            activity,
        })
    }

    /// Whether the listener has no connections.
    pub(super) fn is_empty(&self) -> bool {
        self.room.lock().of_listener(self.listener) == 0
    }
}

impl OpenConnections {
    fn of_listener(&self, listener: u64) -> usize {
        self.listeners.get(&listener).copied().unwrap_or(0)
    }

    fn of_client(&self, client: IpAddr) -> usize {
        self.clients.get(&client).copied().unwrap_or(0)
    }

    /// Asks connections that `among` selects to close, those that have been idle for the
    /// longest first, so that `wanted` of them are about to close. Returns the number of those.
    fn evict(&self, wanted: usize, among: impl Fn(&Connection) -> bool) -> usize {
        let connections = || self.connections.values().filter(|it| among(it));
        let leaving = connections().filter(|it| it.activity.is_leaving()).count();
        if leaving >= wanted {
            return leaving;
        }
        let connections = connections();
        let mut silent: Vec<(Duration, &Arc<Activity>)> = connections
            .filter_map(|it| Some((it.activity.silence()?, &it.activity)))
            .filter(|(silence, _)| *silence >= NEW)
            .map(|(silence, it)| match it.has_asked() {
                true => (silence, it),
                false => (silence * NEVER_ASKED, it),
            })
            .collect();
        silent.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        silent.truncate(wanted - leaving);
        for (_, activity) in &silent {
            activity.evict();
        }
        leaving + silent.len()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.room.lock();
        let Some(connection) = open.connections.remove(&self.id) else {
            return;
        };
        give_back(&mut open.listeners, connection.listener);
        if let Some(client) = connection.client {
            give_back(&mut open.clients, client);
        }
        drop(open);
        self.room.freed.notify_waiters();
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

fn share_of(capacity: usize) -> usize {
    (capacity / EVICTED_AT_ONCE).max(1)
}

/// The client that an address belongs to: an IPv6 client has a whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const CAPACITY: Capacity = Capacity {
        total: 4,
        listener: 3,
        client: 2,
    };

    fn client(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    async fn pass(milliseconds: u64) {
        tokio::time::advance(Duration::from_millis(milliseconds)).await;
    }

    fn is_leaving(place: &Place) -> bool {
        place.activity.evicted().now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn longest_idle_connection_is_closed_and_busy_ones_never() {
        let places = Room::new(CAPACITY).listener();
        let busy = places.take(client("127.0.0.1")).expect("a place");
        let request = busy.activity.begin();
        pass(100).await;
        let old = places.take(client("127.0.0.1")).expect("a place");
        pass(100).await;
        let new = places.take(client("127.0.0.1")).expect("a place");
        pass(100).await;
        assert!(places.available().now_or_never().is_none(), "it is full");
        assert_eq!(
            (is_leaving(&busy), is_leaving(&old), is_leaving(&new)),
            (false, true, false)
        );
        drop(old);
        assert!(places.available().now_or_never().is_some());
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn accepting_waits_while_all_connections_are_busy() {
        let places = Room::new(CAPACITY).listener();
        let taken: Vec<_> = (0..3).filter_map(|_| places.take(None)).collect();
        let mut requests: Vec<_> = taken.iter().map(|it| it.activity.begin()).collect();
        pass(1_000).await;
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.available().await }
        });
        pass(1_000).await;
        assert!(!waiting.is_finished());
        requests.clear();
        drop(taken);
        waiting.await.expect("no failure");
        assert!(places.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn listeners_of_a_group_share_its_slots_and_none_has_all() {
        let room = Room::new(CAPACITY);
        let (one, other) = (room.listener(), room.listener());
        let first: Vec<_> = (0..3).filter_map(|_| one.take(None)).collect();
        pass(10).await;
        let second = other.take(None);
        pass(100).await;
        assert!(other.available().now_or_never().is_none());
        assert_eq!(first.iter().filter(|place| is_leaving(place)).count(), 1);
        drop((first, second));
        assert!(other.available().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn client_over_its_share_replaces_its_own_idle_connections() {
        let places = Room::new(CAPACITY).listener();
        let other = places.take(client("192.0.2.1")).expect("a place");
        pass(100).await;
        let first = places.take(client("192.0.2.7")).expect("a place");
        pass(100).await;
        let second = places.take(client("192.0.2.7")).expect("a place");
        let request = second.activity.begin();
        pass(100).await;
        let third = places.take(client("192.0.2.7")).expect("a place");
        assert!(is_leaving(&first) && !is_leaving(&other));
        let working = (third.activity.begin(), first.activity.begin());
        assert!(places.take(client("192.0.2.7")).is_none(), "all at work");
        assert!(places.take(client("192.0.2.8")).is_some());
        drop((request, working));
    }

    #[tokio::test(start_paused = true)]
    async fn no_further_connections_are_closed_while_some_are_about_to_close() {
        let places = Room::new(CAPACITY).listener();
        let taken: Vec<_> = (0..3).filter_map(|_| places.take(None)).collect();
        pass(100).await;
        for _ in 0..10 {
            assert!(places.available().now_or_never().is_none());
        }
        assert_eq!(taken.iter().filter(|place| is_leaving(place)).count(), 1);
    }

    #[test]
    fn network_of_an_ipv6_address_counts_as_one_client() {
        let of = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8::1:2"), "2001:db8::");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::1"), "::1");
    }
}
