//! Limits that a service decides, for all hosts together: Envoy's filter `ratelimit`.

use std::time::Duration;

use bytes::Bytes;
use galleria_manifest::model::GlobalRateLimit;
use http::{HeaderName, HeaderValue, StatusCode};

use super::LimitHeaders;
use super::descriptor::Descriptor;
use super::limit::{ReplyHeaders, seconds};
use crate::LocalReply;

/// A service that decides about requests, and what follows from its decision.
#[derive(Debug)]
pub struct GlobalLimit {
    pub domain: String,
    /// The host and the port of the service; `None` if nothing declares it.
    pub authority: Option<String>,
    pub timeout: Duration,
    failure_mode_deny: bool,
    status: StatusCode,
    status_on_error: StatusCode,
    headers: ReplyHeaders,
    shows_limits: bool,
    shows_header: bool,
}

/// A question to a service.
#[derive(Debug)]
pub struct Question<'l> {
    pub limit: &'l GlobalLimit,
    /// Lists of keys and values.
    pub descriptors: Vec<Vec<(String, String)>>,
}

/// The answer of a service.
#[derive(Debug, Clone, Default)]
pub struct Decision {
    pub is_over_limit: bool,
    pub statuses: Vec<LimitStatus>,
    pub response_headers: LimitHeaders,
    pub request_headers: LimitHeaders,
    pub body: Bytes,
}

/// The limit of one descriptor.
#[derive(Debug, Clone, Copy)]
pub struct LimitStatus {
    pub requests_per_unit: u32,
    pub unit: Duration,
    pub remaining: u32,
    pub reset: Duration,
}

/// Headers of a request that is allowed, and of its response.
#[derive(Debug, Default)]
pub struct Granted {
    pub request: LimitHeaders,
    pub response: LimitHeaders,
}

impl GlobalLimit {
    pub(crate) fn new(config: &GlobalRateLimit, authority: Option<String>) -> Self {
        let status = |code, default| StatusCode::from_u16(code).unwrap_or(default);
        Self {
            domain: config.domain.clone(),
            authority,
            timeout: config.timeout,
            failure_mode_deny: config.failure_mode_deny,
            status: status(config.status, StatusCode::TOO_MANY_REQUESTS),
            status_on_error: status(config.status_on_error, StatusCode::INTERNAL_SERVER_ERROR),
            headers: ReplyHeaders::new(&config.response_headers),
            shows_limits: config.shows_limits,
            shows_header: config.shows_header,
        }
    }

    /// The question about a request with these descriptors; `None` without any.
    pub(super) fn question(&self, descriptors: &[Descriptor]) -> Option<Question<'_>> {
        (!descriptors.is_empty()).then(|| Question {
            limit: self,
            descriptors: descriptors.to_vec(),
        })
    }

    /// What follows from a decision.
    ///
    /// # Errors
    /// The reply for a request over the limit.
    pub fn decided(&self, decision: Decision) -> Result<Granted, LocalReply> {
        let mut response = decision.response_headers;
        if self.shows_limits {
            response.extend(limits(&decision.statuses));
        }
        if !decision.is_over_limit {
            return Ok(Granted {
                request: decision.request_headers,
                response,
            });
        }
        if self.shows_header {
            let name = HeaderName::from_static("x-envoy-ratelimited");
            response.push((name, HeaderValue::from_static("true")));
        }
        let reply = LocalReply::request_rate_limited(self.status, decision.body, response);
        Err(self.headers.add_to(reply))
    }

    /// What follows if the service gives no decision.
    ///
    /// # Errors
    /// The reply, unless such requests are allowed.
    pub fn failed(&self) -> Result<Granted, LocalReply> {
        match self.failure_mode_deny {
            false => Ok(Granted::default()),
            true => Err(LocalReply::rate_limiter_error(self.status_on_error)),
        }
    }
}

/// The limit with the fewest requests left, and the policies of all.
fn limits(statuses: &[LimitStatus]) -> LimitHeaders {
    let Some(least) = statuses.iter().min_by_key(|status| status.remaining) else {
        return LimitHeaders::new();
    };
    let mut limit = least.requests_per_unit.to_string();
    for LimitStatus {
        requests_per_unit,
        unit,
        ..
    } in statuses
    {
        limit.push_str(&format!(", {requests_per_unit};w={}", unit.as_secs()));
    }
    let mut headers = vec![
        (
            HeaderName::from_static("x-ratelimit-remaining"),
            least.remaining.into(),
        ),
        (
            HeaderName::from_static("x-ratelimit-reset"),
            seconds(least.reset).into(),
        ),
    ];
    if let Ok(limit) = HeaderValue::from_str(&limit) {
        headers.insert(0, (HeaderName::from_static("x-ratelimit-limit"), limit));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(failure_mode_deny: bool, shows_limits: bool) -> GlobalLimit {
        let config = GlobalRateLimit {
            domain: "shop".into(),
            host: "ratelimit".into(),
            port: 8081,
            timeout: Duration::from_millis(20),
            failure_mode_deny,
            status: 429,
            status_on_error: 500,
            response_headers: Vec::new(),
            shows_limits,
            shows_header: true,
        };
        GlobalLimit::new(&config, None)
    }

    fn text(headers: &LimitHeaders) -> String {
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| {
            let value = value.to_str().expect("text");
            format!("{name}={value}")
        });
        headers.collect::<Vec<_>>().join(" ")
    }

    fn decision(is_over_limit: bool) -> Decision {
        let status = |remaining, secs| LimitStatus {
            requests_per_unit: 10,
            unit: Duration::from_secs(60),
            remaining,
            reset: Duration::from_secs(secs),
        };
        let header = |name| (HeaderName::from_static(name), HeaderValue::from_static("1"));
        Decision {
            is_over_limit,
            statuses: vec![status(3, 7), status(0, 9)],
            response_headers: vec![header("x-response")],
            request_headers: vec![header("x-request")],
            body: Bytes::from_static(b"slow down"),
        }
    }

    #[test]
    fn request_below_the_limit_gets_headers() {
        let granted = limit(false, false)
            .decided(decision(false))
            .expect("granted");
        assert_eq!(text(&granted.request), "x-request=1");
        assert_eq!(text(&granted.response), "x-response=1");
        let granted = limit(false, true)
            .decided(decision(false))
            .expect("granted");
        let expected = "x-response=1 x-ratelimit-limit=10, 10;w=60, 10;w=60 \
                        x-ratelimit-remaining=0 x-ratelimit-reset=9";
        assert_eq!(text(&granted.response), expected);
    }

    #[test]
    fn request_over_the_limit_gets_the_reply_of_envoy() {
        let reply = limit(false, false)
            .decided(decision(true))
            .expect_err("a reply");
        assert_eq!(reply.status, 429);
        assert_eq!(reply.flags.to_string(), "RL");
        assert_eq!(reply.details, "request_rate_limited");
        assert_eq!(reply.body, "slow down");
        let expected = "content-type=text/plain x-response=1 x-envoy-ratelimited=true";
        assert_eq!(text(&reply.headers), expected);
    }

    #[test]
    fn service_that_fails_allows_or_refuses() {
        assert!(limit(false, false).failed().is_ok());
        let reply = limit(true, false).failed().expect_err("a reply");
        assert_eq!(reply.status, 500);
        assert_eq!(reply.flags.to_string(), "RLSE");
        assert_eq!(reply.details, "rate_limiter_error");
    }
}
