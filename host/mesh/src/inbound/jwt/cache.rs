//! The key sets that were fetched, and when to fetch them again.
//!
//! The host fetches; this module decides when. A set is used for
//! [`FRESH`] and then renewed while requests still use it. If that fails, the last good set
//! is used until [`KEPT_MAX`]; from then on requests are refused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::key_set::KeySet;

/// How long a set is not fetched again, as in Istio.
pub const FRESH: Duration = Duration::from_secs(5 * 60);

/// How long the last good set is used while it cannot be renewed. A key that its issuer has
/// withdrawn must not be accepted forever.
pub const KEPT_MAX: Duration = Duration::from_secs(60 * 60);

/// The shortest time between two fetches of a set. It bounds what tokens with invented key
/// ids can cause.
pub const FETCH_INTERVAL: Duration = Duration::from_secs(10);

/// How long one fetch can take, if a rule does not say otherwise.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a key set is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteKeySet {
    /// The URL of the set, or of an OpenID configuration.
    pub url: String,
    /// Whether `url` is that of an OpenID configuration, whose `jwks_uri` is the set's.
    pub is_discovered: bool,
    pub timeout: Duration,
}

/// The key sets of all issuers, by URL.
#[derive(Debug, Default)]
pub struct KeySetCache {
    entries: Mutex<HashMap<String, Entry>>,
}

/// What the cache has of a set.
#[derive(Debug)]
pub(super) enum Lookup {
    Found(Arc<KeySet>),
    /// It can be used, and should be renewed meanwhile.
    Stale(Arc<KeySet>),
    /// The request has to wait until it is fetched.
    Absent,
    /// The last fetch failed, and it is too early for another.
    Failed,
}

#[derive(Debug)]
struct Entry {
    good: Option<(Arc<KeySet>, Instant)>,
    /// The end of the last fetch.
    fetched_at: Instant,
}

impl KeySetCache {
    /// Stores the result of a fetch. Without a result, the last good set remains.
    pub fn store(&self, remote: &RemoteKeySet, keys: Option<KeySet>, now: Instant) {
        let mut entries = self.entries.lock();
        // Sets of rules that are gone.
        entries.retain(|_, entry| now.saturating_duration_since(entry.fetched_at) < KEPT_MAX);
        let entry = entries.entry(remote.url.clone()).or_insert(Entry {
            good: None,
            fetched_at: now,
        });
        entry.fetched_at = now;
        if let Some(keys) = keys {
            entry.good = Some((Arc::new(keys), now));
        }
    }

    /// Finds a set for a token that names `key_id`, or none if that is empty.
    pub(super) fn find(&self, remote: &RemoteKeySet, key_id: &str, now: Instant) -> Lookup {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(&remote.url) else {
            return Lookup::Absent;
        };
        let since = |at: Instant| now.saturating_duration_since(at);
        let may_fetch = since(entry.fetched_at) >= FETCH_INTERVAL;
        let good = entry.good.as_ref();
        match good.filter(|(_, at)| since(*at) < KEPT_MAX) {
            None if may_fetch => Lookup::Absent,
            None => Lookup::Failed,
            Some((keys, _)) if may_fetch && !keys.may_have(key_id) => Lookup::Absent,
            Some((keys, at)) if may_fetch && since(*at) >= FRESH => Lookup::Stale(keys.clone()),
            Some((keys, _)) => Lookup::Found(keys.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_KEY: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn remote() -> RemoteKeySet {
        RemoteKeySet {
            url: "https://issuer.example/keys".into(),
            is_discovered: false,
            timeout: FETCH_TIMEOUT,
        }
    }

    fn keys() -> Option<KeySet> {
        Some(KeySet::parse(ONE_KEY.as_bytes()).expect("a key set"))
    }

    fn lookup(cache: &KeySetCache, key_id: &str, now: Instant) -> &'static str {
        match cache.find(&remote(), key_id, now) {
            Lookup::Found(_) => "found",
            Lookup::Stale(_) => "stale",
            Lookup::Absent => "absent",
            Lookup::Failed => "failed",
        }
    }

    #[test]
    fn set_is_fresh_then_stale_then_refused() {
        let (cache, start) = (KeySetCache::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(lookup(&cache, "a", start), "absent");
        cache.store(&remote(), keys(), start);
        for (seconds, expected) in [
            (0, "found"),
            (299, "found"),
            (300, "stale"),
            (3_599, "stale"),
            (3_600, "absent"),
        ] {
            assert_eq!(lookup(&cache, "a", at(seconds)), expected, "{seconds} s");
        }
        // A failed renewal keeps the last good set, and is not repeated at once.
        cache.store(&remote(), None, at(300));
        assert_eq!(lookup(&cache, "a", at(309)), "found");
        assert_eq!(lookup(&cache, "a", at(310)), "stale");
        cache.store(&remote(), None, at(3_595));
        assert_eq!(lookup(&cache, "a", at(3_601)), "failed");
        assert_eq!(lookup(&cache, "a", at(3_605)), "absent");
    }

    #[test]
    fn unknown_key_id_causes_one_fetch_per_interval() {
        let (cache, start) = (KeySetCache::default(), Instant::now());
        cache.store(&remote(), keys(), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(lookup(&cache, "b", at(9)), "found");
        assert_eq!(lookup(&cache, "b", at(10)), "absent");
        cache.store(&remote(), keys(), at(10));
        assert_eq!(lookup(&cache, "b", at(11)), "found");
        assert_eq!(lookup(&cache, "", at(30)), "found");
    }

    #[test]
    fn first_fetch_that_fails_is_not_repeated_at_once() {
        let (cache, start) = (KeySetCache::default(), Instant::now());
        cache.store(&remote(), None, start);
        assert_eq!(lookup(&cache, "a", start), "failed");
        assert_eq!(lookup(&cache, "a", start + FETCH_INTERVAL), "absent");
    }
}
