//! Rate limits: how many requests a workload or the gateway accepts.
//!
//! The rules are those of Envoy's filters. With `local_ratelimit`, a request takes a token from
//! a bucket, which is filled again after a fixed time; requests with certain properties, their
//! descriptors, can have buckets of their own. Buckets outlive snapshots as long as their
//! configuration does not change; all pods of a workload in this host share them. With
//! `ratelimit`, a service decides by the descriptors ([`GlobalLimit`]).

mod bucket;
mod descriptor;
mod global;
mod limit;
mod route;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue};
use rand::Rng;

pub use self::bucket::{Balance, TokenBucket};
use self::descriptor::Descriptor;
pub use self::global::{Decision, GlobalLimit, Granted, LimitStatus, Question};
pub(crate) use self::limit::{LocalLimit, LocalLimits};
pub(crate) use self::route::{RouteLimit, VirtualHostMatch};
use crate::{LocalReply, RequestHead};

/// The limits of one workload, or of the gateway.
#[derive(Debug, Default)]
pub struct RateLimits {
    /// By the port of the listener, if the limit is for one.
    pub(crate) filters: Vec<(Option<u16>, Arc<LocalLimit>)>,
    /// As `filters`.
    pub(crate) global: Vec<(Option<u16>, GlobalLimit)>,
    pub(crate) routes: Vec<RouteLimit>,
}

/// A request that takes tokens.
#[derive(Debug, Clone, Copy)]
pub struct LimitedRequest<'a> {
    pub head: RequestHead<'a>,
    /// The port of the listener, or the pod's own.
    pub port: u16,
    /// The client's address.
    pub remote_ip: Option<IpAddr>,
    /// The name of the route; `None` at a workload.
    pub route: Option<&'a str>,
}

/// Headers that the response gets.
pub type LimitHeaders = Vec<(HeaderName, HeaderValue)>;

impl RateLimits {
    /// Whether there is no limit.
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty() && self.global.is_empty()
    }

    /// Takes the tokens for a request.
    ///
    /// # Errors
    /// The reply for a request over the limit.
    pub fn take(
        &self,
        request: &LimitedRequest<'_>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Result<LimitHeaders, LocalReply> {
        let mut headers = LimitHeaders::new();
        if self.filters.is_empty() {
            return Ok(headers);
        }
        let routes = self.routes.iter().filter(|route| route.matches(request));
        let routes: Vec<_> = routes.collect();
        let own = routes.iter().filter(|route| route.limit.is_some());
        // Of several, the most specific one counts, and the later one of two such.
        let own = own.max_by_key(|route| route.specificity());
        let own = own.and_then(|route| route.limit.as_ref());
        let descriptors = descriptors(&routes, request);
        for (port, limit) in &self.filters {
            if port.is_none_or(|port| port == request.port) {
                let limit = own.unwrap_or(limit);
                headers.extend(limit.take(&descriptors, now, rng)?);
            }
        }
        Ok(headers)
    }

    /// The questions to services about a request that has its tokens.
    pub fn questions(&self, request: &LimitedRequest<'_>) -> Vec<Question<'_>> {
        if self.global.is_empty() {
            return Vec::new();
        }
        let routes = self.routes.iter().filter(|route| route.matches(request));
        let routes: Vec<_> = routes.collect();
        let descriptors = descriptors(&routes, request);
        let limits = self.global.iter();
        let limits = limits.filter(|(port, _)| port.is_none_or(|port| port == request.port));
        limits
            .filter_map(|(_, limit)| limit.question(&descriptors))
            .collect()
    }
}

fn descriptors(routes: &[&RouteLimit], request: &LimitedRequest<'_>) -> Vec<Descriptor> {
    let actions = routes.iter().flat_map(|route| &route.descriptors);
    actions
        .filter_map(|actions| descriptor::of(actions, request))
        .collect()
}
