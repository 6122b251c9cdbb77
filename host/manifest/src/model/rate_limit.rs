//! Rate limits: what the host reads of Istio's EnvoyFilter.

use std::time::Duration;

use regex::Regex;

use super::{Labels, Percent};
use crate::Position;

/// Istio's EnvoyFilter: its patches with rate limits. All others are left to the cluster.
#[derive(Debug, Clone, Default)]
pub struct EnvoyFilter {
    /// Empty for all workloads of the namespace.
    pub workload_selector: Labels,
    pub patches: Vec<RateLimitPatch>,
    /// Whether it has patches that the host does not enforce.
    pub is_partly_enforced: bool,
}

/// One of `configPatches`.
#[derive(Debug, Clone)]
pub struct RateLimitPatch {
    pub at: Position,
    pub context: PatchContext,
    pub change: RateLimitChange,
}

/// `match.context`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchContext {
    Any,
    SidecarInbound,
    Gateway,
}

/// What a patch adds.
#[derive(Debug, Clone)]
pub enum RateLimitChange {
    /// The filter, which limits all requests: `applyTo: HTTP_FILTER`. `port` is the port of
    /// the listener, if the patch has one.
    Filter {
        port: Option<u16>,
        limit: LocalRateLimit,
    },
    /// The filter that asks a service.
    GlobalFilter {
        port: Option<u16>,
        limit: GlobalRateLimit,
    },
    /// Limits for some routes: `applyTo: HTTP_ROUTE` or `VIRTUAL_HOST`.
    Route(RateLimitedRoute),
}

/// A route or a virtual host with a limit of its own, or with descriptors.
#[derive(Debug, Clone)]
pub struct RateLimitedRoute {
    /// `vhost.name`: `HOST:PORT` at a gateway, `inbound|http|PORT` at a workload.
    pub virtual_host: Option<String>,
    /// `route.name`: the name of a rule of a VirtualService.
    pub route: Option<String>,
    /// Replaces the limit of the filter.
    pub limit: Option<LocalRateLimit>,
    /// `rate_limits[].actions`
    pub descriptors: Vec<Vec<RateLimitAction>>,
}

/// `envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit`
#[derive(Debug, Clone)]
pub struct LocalRateLimit {
    /// `None` if only routes are limited.
    pub bucket: Option<BucketLimits>,
    /// `filter_enabled`, of the requests; 0 by default.
    pub enabled: Percent,
    /// `filter_enforced`, of the requests over the limit; 0 by default.
    pub enforced: Percent,
    /// 429 by default.
    pub status: u16,
    /// `response_headers_to_add`, for responses of the limit.
    pub response_headers: Vec<AddedHeader>,
    pub descriptors: Vec<LimitedDescriptor>,
    /// `always_consume_default_token_bucket`, true by default.
    pub always_takes_from_bucket: bool,
    /// `enable_x_ratelimit_headers: DRAFT_VERSION_03`
    pub shows_limits: bool,
}

/// `envoy.extensions.filters.http.ratelimit.v3.RateLimit`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalRateLimit {
    pub domain: String,
    /// Of the service's cluster, `outbound|PORT||HOST`.
    pub host: String,
    pub port: u16,
    /// 20 ms by default.
    pub timeout: Duration,
    /// Whether requests are refused if the service gives no decision.
    pub failure_mode_deny: bool,
    /// `rate_limited_status`, 429 by default.
    pub status: u16,
    /// 500 by default.
    pub status_on_error: u16,
    /// `response_headers_to_add`, for responses of the limit.
    pub response_headers: Vec<AddedHeader>,
    /// `enable_x_ratelimit_headers: DRAFT_VERSION_03`
    pub shows_limits: bool,
    /// Whether responses of the limit have `x-envoy-ratelimited`.
    pub shows_header: bool,
}

/// `token_bucket`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLimits {
    pub max_tokens: u32,
    pub tokens_per_fill: u32,
    pub fill_interval: Duration,
}

/// A header of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedHeader {
    /// In lower case.
    pub name: String,
    pub value: String,
    /// Whether it replaces other values.
    pub replaces: bool,
}

/// `descriptors[]`: requests with these entries have a bucket of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedDescriptor {
    pub entries: Vec<(String, String)>,
    pub bucket: BucketLimits,
}

/// `actions[]`: an entry of a descriptor.
#[derive(Debug, Clone)]
pub enum RateLimitAction {
    RequestHeader {
        /// In lower case; `:path`, `:method` and `:authority` too.
        name: String,
        key: String,
        skip_if_absent: bool,
    },
    RemoteAddress,
    GenericKey {
        key: String,
        value: String,
    },
    HeaderValueMatch {
        key: String,
        value: String,
        /// Whether the headers must match, or must not.
        expects_match: bool,
        headers: Vec<HeaderMatcher>,
    },
}

/// A condition on a header.
#[derive(Debug, Clone)]
pub struct HeaderMatcher {
    /// In lower case, possibly a pseudo header.
    pub name: String,
    pub matches: HeaderTextMatch,
    pub is_inverted: bool,
}

/// How the value of a header matches.
#[derive(Debug, Clone)]
pub enum HeaderTextMatch {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}
