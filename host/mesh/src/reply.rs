//! Every response that the mesh generates itself. Only this module chooses their status,
//! flags and body, which are those of Envoy in the same case.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, StatusCode};

use crate::{Failure, ResponseFlags};

/// A response from the mesh, not from a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalReply {
    pub status: StatusCode,
    pub flags: ResponseFlags,
    pub body: Bytes,
    /// Without `content-length`: it follows from the body.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// `%RESPONSE_CODE_DETAILS%`: Envoy's name of the case; for a refused destination, what
    /// would allow it. For the log, never for the caller.
    pub details: Cow<'static, str>,
    /// Whether a caller outside of the process sees a connection that is reset instead.
    pub resets: bool,
}

/// An extension of the response for a [`LocalReply`] that resets the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionReset;

/// When a client can retry after a limit was reached. Queues are shorter than that.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

const RESET_BEFORE_HEADERS: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: ";

impl LocalReply {
    /// A reply with a plain text body.
    pub fn new(
        status: StatusCode,
        flags: ResponseFlags,
        body: impl Into<Bytes>,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        let body = body.into();
        let mut headers = Vec::new();
        if !body.is_empty() {
            headers.push((CONTENT_TYPE, HeaderValue::from_static("text/plain")));
        }
        Self {
            status,
            flags,
            body,
            headers,
            details: details.into(),
            resets: false,
        }
    }

    /// 404 NR: no virtual host or no rule matched.
    pub fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            ResponseFlags::NR,
            "",
            "route_not_found",
        )
    }

    /// 421: the connection was secured for another server of the port (RFC 9110, 15.5.20). The
    /// client sends the request again on a connection of its own.
    pub fn misdirected() -> Self {
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            ResponseFlags::NONE,
            "",
            "misdirected_request",
        )
    }

    /// 503 NC: the rule's destination names a service, port or subset that does not exist.
    pub fn no_cluster(cluster: &str) -> Self {
        let details = format!("cluster_not_found{{{cluster}}}");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ResponseFlags::NC,
            "",
            details,
        )
    }

    /// 500 NC: the backend of an HTTPRoute does not exist, or the route must not use it.
    pub fn invalid_backend(backend: &str) -> Self {
        let details = format!("invalid_backend{{{backend}}}");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            ResponseFlags::NC,
            "",
            details,
        )
    }

    /// 503 UH: no endpoint is ready, or all are ejected.
    pub fn no_healthy_upstream() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            ResponseFlags::UH,
            "no healthy upstream",
            "no_healthy_upstream",
        )
    }

    /// 503 UO: a limit of the connection pool or of a workload's queue.
    pub fn overflow() -> Self {
        let mut reply = Self::reset(ResponseFlags::UO, "overflow");
        let overloaded = HeaderName::from_static("x-envoy-overloaded");
        reply
            .headers
            .push((overloaded, HeaderValue::from_static("true")));
        reply.headers.push((RETRY_AFTER, RETRY_AFTER_SECONDS));
        reply
    }

    /// 503 UO: the host is overloaded, and refuses requests that have waited too long.
    pub fn overloaded() -> Self {
        Self {
            details: "overload".into(),
            ..Self::overflow()
        }
    }

    /// The reply for an attempt without a response, if it is the last one: 504 for a
    /// timeout, 503 otherwise.
    pub fn for_failure(failure: Failure) -> Self {
        match failure {
            Failure::ConnectFailure | Failure::Refused => {
                Self::reset(ResponseFlags::UF, "remote connection failure")
            }
            Failure::Overflow => Self::overflow(),
            Failure::Reset => Self::reset(ResponseFlags::UR, "remote reset"),
            Failure::Termination => Self::reset(ResponseFlags::UC, "connection termination"),
            Failure::Timeout => Self::upstream_timeout(),
        }
    }

    /// 503 UF: no NetworkPolicy allows the connection. The caller sees a connection that
    /// fails, as in a cluster; `details` name the policies.
    pub fn network_policy_denied(details: String) -> Self {
        Self {
            details: details.into(),
            ..Self::for_failure(Failure::ConnectFailure)
        }
    }

    fn reset(flags: ResponseFlags, reason: &'static str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            flags,
            format!("{RESET_BEFORE_HEADERS}{reason}"),
            format!(
                "upstream_reset_before_response_started{{{}}}",
                reason.replace(' ', "_")
            ),
        )
    }

    /// 504 UT: the timeout of the route, for all attempts.
    pub fn upstream_timeout() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            ResponseFlags::UT,
            "upstream request timeout",
            "response_timeout",
        )
    }

    /// 504 UT: the timeout of one attempt.
    pub fn upstream_per_try_timeout() -> Self {
        Self {
            details: "upstream_per_try_timeout".into(),
            ..Self::upstream_timeout()
        }
    }

    /// FI: the abort of a fault, with an HTTP status.
    pub fn fault_abort(status: StatusCode) -> Self {
        Self::new(
            status,
            ResponseFlags::FI,
            "fault filter abort",
            "fault_filter_abort",
        )
    }

    /// FI: the abort of a fault, with a gRPC status.
    pub fn fault_abort_grpc(code: u16) -> Self {
        let mut reply = Self::new(StatusCode::OK, ResponseFlags::FI, "", "fault_filter_abort");
        reply.set_grpc_status(code, "fault filter abort");
        reply
    }

    /// 502: the destination is not in the mesh and nothing declares it.
    /// `details` says what would allow it.
    pub fn blocked(details: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, ResponseFlags::NONE, "", details)
    }

    /// 502: `host`, outside the mesh, has only addresses that are not public and that
    /// nothing declares.
    pub fn private_address(host: &str, address: IpAddr) -> Self {
        let is = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(_) => "is",
            Err(_) => "resolves to",
        };
        let prefix = if address.is_ipv4() { 32 } else { 128 };
        Self::blocked(format!(
            "{host} {is} {address}, an address that is not public; a ServiceEntry with it in \
             endpoints, or with addresses: [{address}/{prefix}], would allow it"
        ))
    }

    /// 400 DPE: the request is malformed.
    pub fn bad_request(details: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ResponseFlags::DPE, "", details)
    }

    /// 431 DPE: the fields of the head need more bytes, or are more, than a client may send.
    pub fn header_fields_too_large() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, ResponseFlags::DPE, "", "request_headers_too_large")
    }

    /// 501 DPE: the body has a transfer coding besides `chunked` (RFC 9112, 6.1).
    pub fn unknown_transfer_coding() -> Self {
        let status = StatusCode::NOT_IMPLEMENTED;
        let details = "http1.invalid_transfer_encoding";
        Self::new(status, ResponseFlags::DPE, "", details)
    }

    /// DPE: the head could not be parsed, and the connection was closed with `status`.
    pub fn malformed_head(status: StatusCode) -> Self {
        Self::new(status, ResponseFlags::DPE, "", "http1.codec_error")
    }

    /// 502 UPE: the response of an endpoint is not a response.
    pub fn upstream_protocol_error() -> Self {
        Self {
            status: StatusCode::BAD_GATEWAY,
            ..Self::reset(ResponseFlags::UPE, "protocol error")
        }
    }

    /// 403: an authorization policy denies the request. `rule` is the rule that matched, or
    /// `none`.
    pub fn access_denied(rule: &str) -> Self {
        let details = format!("rbac_access_denied_matched_policy[{rule}]");
        let body = "RBAC: access denied";
        Self::new(StatusCode::FORBIDDEN, ResponseFlags::NONE, body, details)
    }

    /// RL: a local rate limit is reached; 429 unless it has another status.
    pub fn local_rate_limited(status: StatusCode, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        let body = "local_rate_limited";
        let mut reply = Self::new(status, ResponseFlags::RL, body, body);
        reply.headers.extend(headers);
        reply
    }

    /// RL: a service of rate limits refuses the request.
    pub fn request_rate_limited(
        status: StatusCode,
        body: Bytes,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Self {
        let mut reply = Self::new(status, ResponseFlags::RL, body, "request_rate_limited");
        reply.headers.extend(headers);
        reply
    }

    /// RLSE: a service of rate limits gives no decision.
    pub fn rate_limiter_error(status: StatusCode) -> Self {
        Self::new(status, ResponseFlags::RLSE, "", "rate_limiter_error")
    }

    /// UAEX: a service of external authorization denies the request. The client gets its
    /// status, headers and body.
    pub fn ext_authz_denied(
        status: StatusCode,
        body: impl Into<Bytes>,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Self {
        let mut reply = Self::new(status, ResponseFlags::UAEX, body, "ext_authz_denied");
        for (name, _) in &headers {
            reply.headers.retain(|(default, _)| default != name);
        }
        reply.headers.extend(headers);
        reply
    }

    /// UAEX: a service of external authorization gives no decision.
    pub fn ext_authz_error(status: StatusCode) -> Self {
        Self::new(status, ResponseFlags::UAEX, "", "ext_authz_error")
    }

    /// 413: a service of external authorization must see the whole body, and the body is
    /// larger than it gets.
    pub fn request_payload_too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            ResponseFlags::NONE,
            "Payload Too Large",
            "request_payload_too_large",
        )
    }

    /// 408 SI: the stream was idle for too long.
    pub fn stream_idle() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            ResponseFlags::SI,
            "stream timeout",
            "stream_idle_timeout",
        )
    }

    /// 301 to `location`, a URL with the scheme `https`.
    pub fn https_redirect(location: &HeaderValue) -> Self {
        Self::redirect(StatusCode::MOVED_PERMANENTLY, location)
    }

    /// A redirect to `location`.
    pub fn redirect(status: StatusCode, location: &HeaderValue) -> Self {
        let mut reply = Self::new(status, ResponseFlags::NONE, "", "direct_response");
        reply
            .headers
            .push((http::header::LOCATION, location.clone()));
        reply
    }

    /// The reply for a gRPC client: status 200 with `grpc-status`, in Envoy's mapping of
    /// HTTP to gRPC codes. Replies that are gRPC already, and replies that are not errors,
    /// do not change.
    pub fn for_grpc(mut self) -> Self {
        let grpc = HeaderName::from_static("grpc-status");
        let done = self.headers.iter().any(|(name, _)| *name == grpc);
        if done || !(self.status.is_client_error() || self.status.is_server_error()) {
            return self;
        }
        let code = grpc_status_of(self.status);
        let message = String::from_utf8_lossy(&self.body).into_owned();
        self.status = StatusCode::OK;
        self.body = Bytes::new();
        self.headers.retain(|(name, _)| *name != CONTENT_TYPE);
        self.set_grpc_status(code, &message);
        self
    }

    fn set_grpc_status(&mut self, code: u16, message: &str) {
        self.headers
            .push((CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
        self.headers.push((
            HeaderName::from_static("grpc-status"),
            HeaderValue::from(code),
        ));
        if let Ok(message) = HeaderValue::from_str(message)
            && !message.is_empty()
        {
            self.headers
                .push((HeaderName::from_static("grpc-message"), message));
        }
    }

    /// The reply as a response. Its extensions contain its flags, which tells it from the
    /// response of an endpoint.
    pub fn into_response(self) -> http::Response<Bytes> {
        let mut headers = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response.extensions_mut().insert(self.flags);
        if self.resets {
            response.extensions_mut().insert(ConnectionReset);
        }
        response
    }
}

/// Envoy's `httpToGrpcStatus`.
fn grpc_status_of(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 => 14,
        504 => 4,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_status_flags_and_body_of_envoy() {
        let cases = [
            (LocalReply::no_route(), 404, "NR", ""),
            (LocalReply::no_cluster("outbound|80||a"), 503, "NC", ""),
            (
                LocalReply::no_healthy_upstream(),
                503,
                "UH",
                "no healthy upstream",
            ),
            (
                LocalReply::overflow(),
                503,
                "UO",
                "upstream connect error or disconnect/reset before headers. reset reason: overflow",
            ),
            (
                LocalReply::upstream_timeout(),
                504,
                "UT",
                "upstream request timeout",
            ),
            (
                LocalReply::fault_abort(StatusCode::IM_A_TEAPOT),
                418,
                "FI",
                "fault filter abort",
            ),
            (LocalReply::blocked("x"), 502, "-", ""),
        ];
        for (reply, status, flags, body) in cases {
            assert_eq!(reply.status.as_u16(), status);
            assert_eq!(reply.flags.to_string(), flags);
            assert_eq!(reply.body, body);
        }
    }

    #[test]
    fn every_failure_has_one_reply() {
        for (failure, status, flags) in [
            (Failure::ConnectFailure, 503, "UF"),
            (Failure::Refused, 503, "UF"),
            (Failure::Overflow, 503, "UO"),
            (Failure::Reset, 503, "UR"),
            (Failure::Termination, 503, "UC"),
            (Failure::Timeout, 504, "UT"),
        ] {
            let reply = LocalReply::for_failure(failure);
            assert_eq!(reply.status.as_u16(), status, "{failure:?}");
            assert_eq!(reply.flags.to_string(), flags, "{failure:?}");
        }
    }

    #[test]
    fn a_grpc_client_gets_a_failure_as_a_grpc_status() {
        let response = LocalReply::no_healthy_upstream().for_grpc().into_response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
        assert!(response.body().is_empty());
    }
}
