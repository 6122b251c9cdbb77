//! The value of a header to a policy, if a request has the header several times.
//!
//! Envoy joins some headers when it reads a request, so that its RBAC filter sees one value
//! `a,b`. Of any other header, the filter sees each value. A rule must not allow more here
//! than there; but a value that a rule forbids is forbidden, whether it is joined or not,
//! because a workload may read any of them.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::HeaderName;

use crate::decide::condition::joined;

/// The headers of requests that Envoy 1.40 joins, in alphabetical order. Found by asking it:
/// its RBAC filter was given each header twice.
const JOINED: [&str; 38] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "authorization",
    "cache-control",
    "cdn-loop",
    "content-encoding",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-status",
    "referer",
    "user-agent",
    "via",
    "x-client-trace-id",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-external-address",
    "x-envoy-is-timeout-retry",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether a header that a request has several times has one value, as in Envoy.
pub(in crate::inbound) fn is_joined(name: &HeaderName) -> bool {
    JOINED.binary_search(&name.as_str()).is_ok()
}

/// A header that a condition looks at.
#[derive(Debug)]
pub(super) struct PolicyHeader {
    pub(super) name: HeaderName,
    is_joined: bool,
}

/// What a match of a repeated header leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// The request may pass, so only the value that Envoy sees matches.
    Admits,
    /// The request is refused, so each of its values matches too.
    Refuses,
}

impl PolicyHeader {
    pub(super) fn new(name: HeaderName) -> Self {
        let is_joined = is_joined(&name);
        Self { name, is_joined }
    }

    /// Whether `is_match` is true of the header's value.
    pub(super) fn any(
        &self,
        headers: &HeaderMap,
        effect: Effect,
        is_match: impl Fn(&str) -> bool,
    ) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        let mut any = || values.any(|it| is_match(&String::from_utf8_lossy(it.as_bytes())));
        if !self.is_joined {
            return any();
        }
        // A header that is not repeated is borrowed, and has been compared.
        let whole = joined(headers, &self.name);
        whole.as_deref().is_some_and(&is_match)
            || (effect == Effect::Refuses && matches!(whole, Some(Cow::Owned(_))) && any())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn joined_headers_are_sorted() {
        assert!(JOINED.is_sorted());
    }

    #[test]
    fn repeated_header_matches_as_in_envoy_or_refuses_more() {
        let is = |expected: &'static str| move |it: &str| it == expected;
        let starts = |it: &str| it.starts_with('b');
        let ends = |it: &str| it.ends_with('a');
        for (name, is_match, admits, refuses) in [
            ("user-agent", &is("a") as &dyn Fn(&str) -> bool, false, true),
            ("user-agent", &is("a,b"), true, true),
            ("user-agent", &starts, false, true),
            ("user-agent", &ends, false, true),
            ("user-agent", &|it| it.ends_with('b'), true, true),
            ("user-agent", &|_| true, true, true),
            ("user-agent", &is("c"), false, false),
            ("authorization", &is("b"), false, true),
            ("x-user", &is("a"), true, true),
            ("x-user", &is("b"), true, true),
            ("x-user", &is("a,b"), false, false),
            ("cookie", &is("b"), true, true),
            ("cookie", &is("a; b"), false, false),
            ("accept-language", &starts, true, true),
        ] {
            let name = HeaderName::from_static(name);
            let mut headers = HeaderMap::new();
            for value in ["a", "b"] {
                headers.append(name.clone(), HeaderValue::from_static(value));
            }
            let header = PolicyHeader::new(name);
            let result = [Effect::Admits, Effect::Refuses]
                .map(|effect| header.any(&headers, effect, is_match));
            assert_eq!(result, [admits, refuses], "{header:?}");
        }
        let header = PolicyHeader::new(HeaderName::from_static("user-agent"));
        assert!(!header.any(&HeaderMap::new(), Effect::Refuses, |_| true));
    }
}
