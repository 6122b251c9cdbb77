//! Responses that every service sends: JSON documents and short texts.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::Problem;

/// `document` as JSON.
///
/// # Errors
/// A problem with status 500 if `document` cannot be serialized, which only happens for a
/// map whose keys are not text.
pub fn json<T: Serialize>(status: StatusCode, document: &T) -> Result<Response, Problem> {
    // Large enough for most responses of the shop.
    let mut body = Vec::with_capacity(2048);
    if let Err(error) = serde_json::to_writer(&mut body, document) {
        crate::log(format_args!("cannot write an answer as JSON: {error}"));
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written",
        ));
    }
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

/// A plain text for probes and for people who use curl.
pub fn text(text: impl Into<String>) -> Response {
    let mut response = Response::new(Body::from(text.into()));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
