//! How a try ended, as data: what retries and outlier detection decide on.

use http::StatusCode;

/// The end of one try at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outcome {
    /// The endpoint's status; `None` where it gave no response head.
    pub status: Option<StatusCode>,
    /// `grpc-status` of the response head or trailers.
    pub grpc_status: Option<u16>,
    /// Why there is no response; `None` where there is one.
    pub failure: Option<Failure>,
    /// Whether anything of the request may have reached the endpoint.
    pub request_sent: bool,
    /// Whether the response carries `x-envoy-ratelimited`.
    pub rate_limited: bool,
}

/// Why a try has no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection to the endpoint.
    ConnectFailure,
    /// The endpoint refused the request before it began (`REFUSED_STREAM`, draining).
    Refused,
    /// The endpoint's own queue was full.
    Overflow,
    /// The endpoint reset the stream.
    Reset,
    /// The endpoint ended without an answer: a trap, a closed connection.
    Termination,
    /// The try's or the route's time was over.
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

    /// A try that gave no response.
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

    /// The status that outlier detection counts: the response's, gRPC's as
    /// Envoy maps it, or the one that the mesh would give for the failure.
    /// `None` for an overflow, which says nothing about the endpoint.
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
