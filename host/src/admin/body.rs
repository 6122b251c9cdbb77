//! What a client sends: read within limits, and understood by its media type.

mod protobuf;

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use serde_json::Value;

use super::failure::Failure;

/// Bytes of a request's body, as with an API server.
const BODY_MAX: usize = 3 << 20;

/// How long a body may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Reads the whole body.
///
/// # Errors
/// It is too large, or does not come.
pub(super) async fn read(body: Body) -> Result<Bytes, Failure> {
    match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // Whether it is too long or broken off: who breaks it off does not read this.
        Ok(Err(_)) => Err(Failure::TooLarge { limit: BODY_MAX }),
        Err(_) => Err(Failure::BadRequest(
            "the body of the request did not come in time".into(),
        )),
    }
}

/// The media type without parameters; JSON where none is named.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let named = headers.get(header::CONTENT_TYPE);
    let named = named.and_then(|value| value.to_str().ok());
    let named = named.and_then(|value| value.split(';').next());
    named.map_or("application/json", str::trim)
}

/// An object in JSON, YAML or Kubernetes' protobuf.
///
/// # Errors
/// None of them, or not well formed.
pub(super) fn object(request: &Parts, body: &[u8]) -> Result<Value, Failure> {
    match media_type(&request.headers) {
        "application/json" | "*/*" => json(body),
        "application/yaml" => yaml(body),
        protobuf::MEDIA_TYPE => protobuf::read(body).map_err(|error| {
            Failure::BadRequest(format!("the body is no object in protobuf: {error}"))
        }),
        other => Err(Failure::UnsupportedMediaType(other.to_owned())),
    }
}

/// # Errors
/// It is no JSON.
pub(super) fn json(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body)
        .map_err(|error| Failure::BadRequest(format!("the body is no valid JSON: {error}")))
}

/// # Errors
/// It is not one document of YAML.
pub(super) fn yaml(body: &[u8]) -> Result<Value, Failure> {
    let text = std::str::from_utf8(body)
        .map_err(|_| Failure::BadRequest("the body is not UTF-8".into()))?;
    galleria_manifest::yaml_to_json(text)
        .map_err(|problem| Failure::BadRequest(format!("the body is no valid YAML: {problem}")))
}
