//! Retries and CORS policies of a rule.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::http_match::string_match;
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, did_you_mean, header_name, integer, items, non_empty,
    optional_timeout, positive_duration, string,
};
use crate::model::{CorsPolicy, Retries, StringMatch};
use crate::yaml::Node;

/// Retries of one request; Envoy allows more, which is never sensible.
const ATTEMPTS_MAX: u32 = 100;

const CONDITIONS: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// The statuses that IANA has registered, as far as Go knows them.
const STATUSES: &[RangeInclusive<u16>] = &[
    100..=103,
    200..=208,
    226..=226,
    300..=305,
    307..=308,
    400..=418,
    421..=426,
    428..=429,
    431..=431,
    451..=451,
    500..=508,
    510..=511,
];

const CORS_METHODS: &[&str] = &[
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*",
];

pub(super) fn retries(d: &mut Decoder, node: &Node) -> Option<Retries> {
    let mut fields = Fields::of(d, node)?;
    let attempts = fields.optional("attempts", integer(0..=ATTEMPTS_MAX));
    let per_try_timeout = fields.optional("perTryTimeout", optional_timeout);
    let retry_on = fields
        .optional("retryOn", conditions)
        .filter(|list| !list.is_empty());
    let backoff = fields.optional("backoff", positive_duration);
    let has_attempts = fields.has("attempts");
    let settings = ["perTryTimeout", "retryOn", "retryRemoteLocalities"];
    if let Some(set) = settings.into_iter().find(|field| fields.has(field)) {
        if has_attempts && attempts == Some(0) {
            let message = "contradicts `attempts: 0`, which disables retries; keep one of them";
            fields.error_at(set, codes::EXCLUSIVE_FIELDS, message.to_owned());
        } else if !has_attempts {
            let message = "a cluster refuses this without `attempts`, which is 2 here; set it";
            fields.warn_at(set, codes::MISSING_FIELD, message.to_owned());
        }
    }
    fields.without_effect("retryRemoteLocalities", boolean);
    fields.without_effect("retryIgnorePreviousHosts", boolean);
    fields.finish(&[]);
    // `attempts: 0` disables retries; if absent, the default of Istio is 2.
    Some(Retries {
        attempts: if has_attempts { attempts? } else { 2 },
        per_try_timeout,
        retry_on,
        backoff,
    })
}

fn conditions(d: &mut Decoder, node: &Node) -> Option<Vec<WithPosition<String>>> {
    let text = string(d, node)?;
    let mut conditions = Vec::new();
    for condition in text
        .split(',')
        .map(str::trim)
        .filter(|condition| !condition.is_empty())
    {
        let is_status = condition
            .parse::<u16>()
            .is_ok_and(|code| STATUSES.iter().any(|known| known.contains(&code)));
        if !is_status && !CONDITIONS.contains(&condition) {
            let shown = d.show(condition);
            let hint = did_you_mean(condition, CONDITIONS.iter().copied());
            let message = format!("{shown} is not a retry condition{hint}");
            d.error(node.mark, codes::INVALID_VALUE, message);
            continue;
        }
        conditions.push(d.locate(condition.to_owned(), node));
    }
    Some(conditions)
}

pub(super) fn cors(d: &mut Decoder, node: &Node) -> Option<CorsPolicy> {
    let mut fields = Fields::of(d, node)?;
    let mut allow_origins = fields.list("allowOrigins", origin);
    let old = fields.list("allowOrigin", non_empty);
    if fields.has("allowOrigin") {
        fields.deprecated("allowOrigin", "allowOrigins");
    }
    allow_origins.extend(old.into_iter().map(|origin| match origin.as_str() {
        "*" => StringMatch::Prefix(String::new()),
        _ => StringMatch::Exact(origin),
    }));
    let allow_methods = fields
        .optional("allowMethods", |d, node| items(d, node, method))
        .unwrap_or_default();
    let allow_headers = fields
        .optional("allowHeaders", header_names)
        .unwrap_or_default();
    let expose_headers = fields
        .optional("exposeHeaders", header_names)
        .unwrap_or_default();
    let max_age = fields.optional("maxAge", whole_seconds);
    let allow_credentials = fields
        .optional("allowCredentials", boolean)
        .unwrap_or(false);
    fields.without_effect("unmatchedPreflights", |d, node| {
        let forms = [("UNSPECIFIED", ()), ("FORWARD", ()), ("IGNORE", ())];
        choice(d, node, "a way to handle preflights", &forms)
    });
    fields.finish(&[]);
    Some(CorsPolicy {
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
    })
}

fn method(d: &mut Decoder, node: &Node) -> Option<String> {
    let method = non_empty(d, node)?;
    if CORS_METHODS.contains(&method.as_str()) {
        return Some(method);
    }
    let shown = d.show(&method);
    let upper = method.to_ascii_uppercase();
    let message = if CORS_METHODS.contains(&upper.as_str()) {
        format!("{shown} is not a method; write it in upper case, as `{upper}`")
    } else {
        let list = CORS_METHODS.join(", ");
        format!("{shown} is not a method for CORS (one of {list})")
    };
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn origin(d: &mut Decoder, node: &Node) -> Option<StringMatch> {
    let origin = string_match(d, node)?;
    if origin.pattern().is_empty() {
        let message = "must not be empty; write `regex: .*` for every origin";
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(origin)
}

fn whole_seconds(d: &mut Decoder, node: &Node) -> Option<Duration> {
    let age = positive_duration(d, node)?;
    if age.subsec_nanos() > 0 {
        d.error(node.mark, codes::INVALID_VALUE, "must be whole seconds");
        return None;
    }
    Some(age)
}

fn header_names(d: &mut Decoder, node: &Node) -> Option<Vec<String>> {
    items(d, node, |d, node| {
        let name = non_empty(d, node)?;
        header_name(d, &name, node, false)
    })
}
