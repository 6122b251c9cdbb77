//! Bodies of requests: read within limits and parsed by their media type.

mod duplicates;
mod protobuf;

pub(super) use duplicates::duplicates;

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use serde_json::Value;

use super::failure::Failure;

/// Bytes of a request's body, as in an API server.
const BODY_MAX: usize = 3 << 20;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How much of a body that is too large is still read, so that the client gets to read
/// the response.
const DISCARDED_MAX: usize = 64 << 20;

/// Reads the whole body.
///
/// # Errors
/// It is too large, or does not arrive in time.
pub(super) async fn read(body: Body) -> Result<Bytes, Failure> {
    let timed_out = |_| Failure::BadRequest("timed out reading the request body".into());
    tokio::time::timeout(BODY_TIME, collect(body))
        .await
        .map_err(timed_out)?
}

async fn collect(mut body: Body) -> Result<Bytes, Failure> {
    let (mut taken, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let broken = |error| Failure::BadRequest(format!("cannot read the request body: {error}"));
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > DISCARDED_MAX {
            break;
        }
        if length <= BODY_MAX {
            taken.extend_from_slice(&data);
        }
    }
    match length > BODY_MAX {
        true => Err(Failure::TooLarge(format!(
            "Request entity too large: limit is {BODY_MAX}"
        ))),
        false => Ok(taken.freeze()),
    }
}

/// The media type without parameters, by default JSON.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let named = headers.get(header::CONTENT_TYPE);
    let named = named.and_then(|value| value.to_str().ok());
    let named = named.and_then(|value| value.split(';').next());
    named.map_or("application/json", str::trim)
}

/// An object in JSON, YAML or Kubernetes' protobuf.
///
/// # Errors
/// It is in another format, or malformed.
pub(super) fn object(request: &Parts, body: &[u8]) -> Result<Value, Failure> {
    match media_type(&request.headers) {
        "application/json" | "*/*" => json(body),
        "application/yaml" => yaml(body),
        protobuf::MEDIA_TYPE => protobuf::read(body).map_err(|error| {
            Failure::BadRequest(format!("the body is not a valid protobuf object: {error}"))
        }),
        other => Err(Failure::UnsupportedMediaType(other.to_owned())),
    }
}

/// # Errors
/// It is not JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::BadRequest(format!("the body is not valid JSON: {error}")))
}

/// # Errors
/// It is not a single YAML document.
pub(super) fn yaml(body: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Failure::BadRequest("the body is not UTF-8".into()))?;
    galleria_manifest::yaml_to_json(text)
        .map_err(|problem| Failure::BadRequest(format!("the body is not valid YAML: {problem}")))
}
