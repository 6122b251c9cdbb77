//! `grpc`: `grpc.health.v1.Health/Check`, asked of the guest's HTTP handler.
//!
//! Two messages of one field each are read and written here by hand; a guest
//! that speaks gRPC gets it framed as over HTTP/2, with its trailers.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};

use super::{ANSWER_MAX, USER_AGENT, context};
use crate::Request;
use crate::workload::pod::Pod;

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Flag byte and length before each message.
const PREFIX: usize = 5;

/// Asks whether `service` is served; the empty name asks about the whole server.
///
/// # Errors
/// What came instead of SERVING.
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
    // An answer without messages has its status in the headers.
    judge(read.trailers().unwrap_or(&head.headers))?;
    match serving_status(&read.to_bytes()) {
        Some(SERVING) => Ok(()),
        Some(status) => Err(format!("the service is not serving (status {status})")),
        None => Err(format!("{METHOD} returned no HealthCheckResponse")),
    }
}

fn request(service: &str, address: &str) -> Result<Request, String> {
    let body = Full::new(frame(service)).map_err(|never: std::convert::Infallible| match never {});
    let mut request = http::Request::post(METHOD)
        .header(header::HOST, address)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body.boxed_unsync())
        .map_err(|error| format!("cannot build the probe request: {error}"))?;
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    Ok(request)
}

/// A framed `HealthCheckRequest`, whose field 1 is the service.
fn frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
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

/// Field 1 of a framed `HealthCheckResponse`; 0 where it is absent, as protobuf
/// leaves zeros out. None where it is no such message.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (prefix, rest) = frame.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix.get(1..)?.try_into().ok()?);
    let mut message = rest.get(..usize::try_from(length).ok()?)?;
    let mut status = 0;
    if prefix.first() != Some(&0) {
        return None; // compressed
    }
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
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
    fn answers_are_read_and_rubbish_is_none() {
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 8, 2]), Some(2));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0), "unknown");
        // A field of tomorrow is skipped.
        let newer = [0, 0, 0, 0, 6, 0x12, 2, 9, 9, 8, 1];
        assert_eq!(serving_status(&newer), Some(SERVING));
        for rubbish in [
            &b"ok"[..],
            &[0, 0, 0, 0, 9, 8, 1],
            &[1, 0, 0, 0, 2, 8, 1],
            &[0, 0, 0, 0, 2, 8, 0x80],
            &[0, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(serving_status(rubbish), None, "{rubbish:?}");
        }
    }
}
