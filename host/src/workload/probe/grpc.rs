//! `grpc` probes: calls `grpc.health.v1.Health/Check` on the guest's HTTP handler.
//!
//! The messages are those of `tonic-health`. They are framed as over HTTP/2, and the
//! status comes in trailers. There is no gRPC client here, because the request does
//! not leave the process.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use prost::Message;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{ANSWER_MAX, USER_AGENT, context};
use crate::workload::pod::Pod;
use crate::{Request, body};

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// The flag byte and the length that precede each message.
const PREFIX: usize = 5;

/// Asks whether the guest serves `service`; the empty name means the whole server.
///
/// # Errors
/// The reason why the response is not `SERVING`.
pub(super) async fn check(pod: &Pod, service: &str) -> Result<(), String> {
    let response = pod
        .serve_probe(request(service, &pod.address)?, context())
        .await
        .map_err(|failure| failure.to_string())?;
    let (head, body) = response.into_parts();
    let read = Limited::new(body, ANSWER_MAX).collect().await;
    if head.status != StatusCode::OK {
        return Err(format!("{METHOD} answered {}", head.status));
    }
    let read = read.map_err(|error| format!("{METHOD}: {error}"))?;
    // A response without messages has its status in the headers.
    judge(read.trailers().unwrap_or(&head.headers))?;
    match response_of(&read.to_bytes()).map(|response| response.status) {
        Some(status) if status == ServingStatus::Serving as i32 => Ok(()),
        Some(status) => Err(format!("the service is not serving (status {status})")),
        None => Err(format!("{METHOD} returned no HealthCheckResponse")),
    }
}

fn request(service: &str, address: &str) -> Result<Request, String> {
    let mut request = http::Request::post(METHOD)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body::full(frame(service)))
        .map_err(|error| format!("cannot build the probe request: {error}"))?;
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    Ok(request)
}

/// A framed `HealthCheckRequest`.
fn frame(service: &str) -> Bytes {
    let message = HealthCheckRequest {
        service: service.to_owned(),
    }
    .encode_to_vec();
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn judge(status: &HeaderMap) -> Result<(), String> {
    let text = |name: &str| {
        status
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    match text("grpc-status") {
        Some("0") => Ok(()),
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            Err(format!("{METHOD} ended with grpc-status {code} {message}"))
        }
        None => Err(format!(
            "{METHOD} returned no grpc-status; does the component serve the gRPC health service?"
        )),
    }
}

/// The message of a frame; `None` if it is compressed, truncated or malformed.
fn response_of(frame: &[u8]) -> Option<HealthCheckResponse> {
    let (prefix, rest) = frame.split_at_checked(PREFIX)?;
    let (compressed, length) = prefix.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    let message = rest.get(..usize::try_from(length).ok()?)?;
    (*compressed == 0).then(|| HealthCheckResponse::decode(message).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_framed_messages() {
        assert_eq!(frame("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(frame("ui").as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'u', b'i']);
        let long = frame(&"x".repeat(200));
        assert_eq!(long.get(..8), Some(&[0, 0, 0, 0, 203, 0x0a, 0xc8, 1][..]));
    }

    #[test]
    fn malformed_responses_are_rejected() {
        let serving_status = |frame: &[u8]| response_of(frame).map(|response| response.status());
        assert_eq!(
            serving_status(&[0, 0, 0, 0, 2, 8, 1]),
            Some(ServingStatus::Serving)
        );
        assert_eq!(
            serving_status(&[0, 0, 0, 0, 2, 8, 2]),
            Some(ServingStatus::NotServing)
        );
        assert_eq!(
            serving_status(&[0, 0, 0, 0, 0]),
            Some(ServingStatus::Unknown)
        );
        // Unknown fields are skipped.
        let newer = [0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 1];
        assert_eq!(serving_status(&newer), Some(ServingStatus::Serving));
        for malformed in [
            &b"ok"[..],
            &[0, 0, 0, 0, 9, 8, 1],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 2, 8, 0x80],
            &[0, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(serving_status(malformed), None, "{malformed:?}");
        }
    }
}
