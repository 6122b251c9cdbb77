//! How fast clients have to send the bodies of their requests.

use http::HeaderMap;

use super::limits::{BODY_PAUSES, BODY_RATE_MIN, BODY_WINDOW_MIN};
use crate::body::{Pace, WholeBody};
use crate::settings::listen::ClientTimeouts;
use crate::telemetry::access_log::is_grpc;

/// The pace of the body of a request with `headers`. A gRPC request is a stream of
/// messages; any other body has to keep a rate.
pub(super) fn body_pace(headers: &HeaderMap, timeouts: &ClientTimeouts) -> Pace {
    match is_grpc(headers) {
        true => Pace {
            pause: timeouts.grpc,
            window_min: 1,
            whole: None,
        },
        false => Pace {
            pause: timeouts.body,
            window_min: BODY_WINDOW_MIN,
            whole: Some(WholeBody {
                pauses: BODY_PAUSES,
                rate_min: BODY_RATE_MIN,
            }),
        },
    }
}
