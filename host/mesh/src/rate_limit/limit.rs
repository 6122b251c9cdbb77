//! One limit: its buckets, and what it does with requests over the limit.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use galleria_manifest::model::{AddedHeader, LocalRateLimit, Percent};
use http::header::RETRY_AFTER;
use http::{HeaderName, HeaderValue, StatusCode};
use parking_lot::Mutex;
use rand::Rng;

use super::LimitHeaders;
use super::bucket::{Balance, TokenBucket};
use super::descriptor::Descriptor;
use crate::LocalReply;
use crate::decide::fault::happens;

/// A limit with its buckets.
#[derive(Debug)]
pub(crate) struct LocalLimit {
    bucket: Option<TokenBucket>,
    descriptors: Vec<(Descriptor, TokenBucket)>,
    enabled: Percent,
    enforced: Percent,
    status: StatusCode,
    headers: ReplyHeaders,
    always_takes_from_bucket: bool,
    shows_limits: bool,
}

/// The limits of all snapshots that are in use, by what they limit and their configuration.
#[derive(Debug, Default)]
pub(crate) struct LocalLimits(Mutex<HashMap<String, Weak<LocalLimit>>>);

impl LocalLimits {
    /// The limit of `scope` with this configuration: the one that is in use, or a new one
    /// with full buckets.
    pub(crate) fn get(&self, scope: &str, config: &LocalRateLimit) -> Arc<LocalLimit> {
        let key = format!("{scope} {config:?}");
        let mut limits = self.0.lock();
        limits.retain(|_, limit| limit.strong_count() > 0);
        if let Some(limit) = limits.get(&key).and_then(Weak::upgrade) {
            return limit;
        }
        let limit = Arc::new(LocalLimit::new(config));
        limits.insert(key, Arc::downgrade(&limit));
        limit
    }
}

impl LocalLimit {
    fn new(config: &LocalRateLimit) -> Self {
        let descriptors = config.descriptors.iter();
        let descriptors = descriptors.map(|it| {
            let bucket = TokenBucket::new(it.bucket);
            (it.entries.clone(), bucket)
        });
        let status = StatusCode::from_u16(config.status);
        Self {
            bucket: config.bucket.map(TokenBucket::new),
            descriptors: descriptors.collect(),
            enabled: config.enabled,
            enforced: config.enforced,
            status: status.unwrap_or(StatusCode::TOO_MANY_REQUESTS),
            headers: ReplyHeaders::new(&config.response_headers),
            always_takes_from_bucket: config.always_takes_from_bucket,
            shows_limits: config.shows_limits,
        }
    }

    /// Takes the tokens for a request with these descriptors.
    ///
    /// # Errors
    /// The reply for a request over the limit.
    pub(super) fn take(
        &self,
        descriptors: &[Descriptor],
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<LimitHeaders, LocalReply> {
        if !happens(self.enabled, rng) {
            return Ok(LimitHeaders::new());
        }
        let Some(balance) = self.balance(descriptors, now) else {
            return Ok(LimitHeaders::new());
        };
        let mut headers = LimitHeaders::new();
        if self.shows_limits {
            let reset = seconds(balance.reset);
            for (name, value) in [
                ("x-ratelimit-limit", u64::from(balance.limit)),
                ("x-ratelimit-remaining", balance.remaining.into()),
                ("x-ratelimit-reset", reset),
            ] {
                headers.push((HeaderName::from_static(name), value.into()));
            }
        }
        if balance.is_allowed || !happens(self.enforced, rng) {
            return Ok(headers);
        }
        headers.push((RETRY_AFTER, seconds(balance.reset).max(1).into()));
        let reply = LocalReply::local_rate_limited(self.status, headers);
        Err(self.headers.add_to(reply))
    }

    /// The bucket with the fewest tokens of those that the request takes from; `None` if
    /// there is none.
    fn balance(&self, descriptors: &[Descriptor], now: Instant) -> Option<Balance> {
        let own = self.descriptors.iter();
        let own = own.filter(|(descriptor, _)| descriptors.contains(descriptor));
        let own = own.map(|(_, bucket)| bucket.take(now));
        let own = own.min_by_key(|balance| (balance.is_allowed, balance.remaining));
        let takes_default = match own {
            None => true,
            Some(own) => own.is_allowed && self.always_takes_from_bucket,
        };
        let default = self.bucket.as_ref().filter(|_| takes_default);
        let default = default.map(|bucket| bucket.take(now));
        let balances = own.into_iter().chain(default);
        balances.min_by_key(|balance| (balance.is_allowed, balance.remaining))
    }
}

/// Headers that the replies of a limit get, and whether they replace others.
#[derive(Debug)]
pub(super) struct ReplyHeaders(Vec<(HeaderName, HeaderValue, bool)>);

impl ReplyHeaders {
    pub(super) fn new(headers: &[AddedHeader]) -> Self {
        let headers = headers.iter().filter_map(|header| {
            let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
            let value = HeaderValue::from_str(&header.value).ok()?;
            Some((name, value, header.replaces))
        });
        Self(headers.collect())
    }

    pub(super) fn add_to(&self, mut reply: LocalReply) -> LocalReply {
        for (name, value, replaces) in &self.0 {
            if *replaces {
                reply.headers.retain(|(other, _)| other != name);
            }
            reply.headers.push((name.clone(), value.clone()));
        }
        reply
    }
}

/// Whole seconds, rounded up.
pub(super) fn seconds(duration: Duration) -> u64 {
    let rest = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(rest)
}
