//! The outcome of an attempt: the input of retries and outlier detection.

use http::StatusCode;

/// The outcome of one attempt at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The status of the response; `None` if there is no response head.
    pub status: Option<StatusCode>,
    /// `grpc-status` of the response's head or trailers.
    pub grpc_status: Option<u16>,
    /// Why there is no response; `None` if there is one.
    pub failure: Option<Failure>,
    /// Whether a part of the request may have reached the endpoint.
    pub request_sent: bool,
    /// Whether the response carries `x-envoy-ratelimited`.
    pub rate_limited: bool,
}

/// Why an attempt has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The connection to the endpoint failed.
    ConnectFailure,
    /// The endpoint refused the request before it processed it (`REFUSED_STREAM`,
    /// draining).
    Refused,
    /// The endpoint's own queue was full.
    Overflow,
    /// The endpoint reset the stream.
    Reset,
    /// The endpoint terminated without a response: a trap, or a closed connection.
    Termination,
    /// The timeout of the attempt or of the route expired.
    Timeout,
}

impl Outcome {
    /// A response with this status.
    pub fn response(status: StatusCode) -> Self {
        Self {
            status: Some(status),
            request_sent: true,
            ..Self::default()
        }
    }

    /// An attempt without a response.
    pub fn failure(failure: Failure) -> Self {
        let request_sent = matches!(
            failure,
            Failure::Reset | Failure::Termination | Failure::Timeout
        );
        Self {
            failure: Some(failure),
            request_sent,
            ..Self::default()
        }
    }

    /// The status that outlier detection counts: the status of the response, the gRPC
    /// status in Envoy's mapping, or the mesh's own status for the failure. `None` for an
    /// overflow, which is not a failure of the endpoint.
    pub(crate) fn effective_status(&self) -> Option<u16> {
        match self.failure {
            Some(Failure::Overflow) => None,
            Some(Failure::Timeout) => Some(504),
            Some(_) => Some(503),
            None => match self.grpc_status {
                Some(code) if self.status == Some(StatusCode::OK) => Some(http_status_of(code)),
                _ => self.status.map(|status| status.as_u16()),
            },
        }
    }
}

/// Envoy's `grpcToHttpStatus`.
fn http_status_of(grpc: u16) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
