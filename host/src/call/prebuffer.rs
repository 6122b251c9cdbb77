//! Reads the beginning of a client's body before a guest is requested.
//!
//! Otherwise a client that sends slowly would keep an instance waiting from the first
//! byte of its body to the last. A call continues when its body is complete, exceeds
//! the buffer, or is late; a late request keeps its instance only while no other
//! request needs it. Two kinds of requests are exempt: gRPC, where both sides may take
//! turns, and clients that wait to be asked for their body.

use std::time::Duration;

use http::request;
use http_body::Body as _;

use crate::Body;
use crate::body::{self, AwaitsContinue, Beginning, BeginningLimits};
use crate::guest::LateBody;
use crate::telemetry::access_log::is_grpc;

/// Nearly every form and every JSON document fits.
const LIMITS: BeginningLimits = BeginningLimits {
    bytes: 64 << 10,
    frames: 1_024,
    time: Duration::from_secs(1),
};

/// `body`, with its beginning in memory. Marks a late body in `parts`.
pub(super) async fn prebuffer(parts: &mut request::Parts, body: Body) -> Body {
    if body.is_end_stream() || takes_turns(parts) {
        return body;
    }
    let (body, beginning) = body::prebuffer(body, LIMITS).await;
    if beginning == Beginning::Late {
        parts.extensions.insert(LateBody);
    }
    body
}

fn takes_turns(parts: &request::Parts) -> bool {
    is_grpc(&parts.headers) || parts.extensions.get::<AwaitsContinue>().is_some()
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// Whether `prebuffer` marks a request as late whose body does not come.
    async fn is_late(mut parts: request::Parts) -> bool {
        let body = StreamBody::new(stream::pending()).boxed_unsync();
        drop(prebuffer(&mut parts, body).await);
        parts.extensions.get::<LateBody>().is_some()
    }

    fn parts() -> request::Parts {
        http::Request::new(()).into_parts().0
    }

    #[tokio::test(start_paused = true)]
    async fn late_body_is_marked() {
        assert!(is_late(parts()).await);
        let mut parts = parts();
        drop(prebuffer(&mut parts, body::full("in time")).await);
        assert!(parts.extensions.get::<LateBody>().is_none());
    }

    #[tokio::test]
    async fn grpc_and_clients_that_wait_to_be_asked_are_exempt() {
        let mut grpc = parts();
        let kind = "application/grpc+proto".parse().expect("a value");
        grpc.headers.insert(http::header::CONTENT_TYPE, kind);
        assert!(!is_late(grpc).await);
        let mut awaits = parts();
        awaits.extensions.insert(AwaitsContinue);
        assert!(!is_late(awaits).await);
    }
}
