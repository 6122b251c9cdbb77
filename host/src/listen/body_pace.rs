//! How fast clients have to send the bodies of their requests.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::limits::{BODY_PAUSES, BODY_RATE_MIN, BODY_WINDOW_MIN};
use crate::body::{Pace, WholeBody};
use crate::settings::listen::ClientTimeouts;

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

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_recognised_by_its_content_type() {
        let of = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().expect("a value"));
            is_grpc(&headers)
        };
        assert!(of("application/grpc") && of("application/grpc+proto"));
        assert!(!of("application/json") && !is_grpc(&HeaderMap::new()));
    }
}
