//! Converts the host's request to axum's.

use axum::body::Body;
use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use wasip2::http::types::{IncomingRequest, Method as WasiMethod};

/// Why a request cannot be converted. A correct HTTP host never sends such requests.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("the request's path is not one: {0}")]
    Path(#[from] http::uri::InvalidUri),
    #[error("the request has a header name that is not one: {0}")]
    HeaderName(#[from] http::header::InvalidHeaderName),
    #[error("the request has a header value that is not one: {0}")]
    HeaderValue(#[from] http::header::InvalidHeaderValue),
    #[error("the request cannot be read: {0}")]
    Other(String),
}

/// Converts the request. For a request without a body, scheme, authority and body are not
/// read: handlers do not use them, and each is a separate call of the host.
pub(super) fn accept(incoming: IncomingRequest) -> Result<Request, RequestError> {
    let method = match incoming.method() {
        WasiMethod::Get => Method::GET,
        WasiMethod::Head => Method::HEAD,
        _ => return accept_with_body(incoming),
    };
    let uri = match incoming.path_with_query() {
        Some(path) => Uri::try_from(path)?,
        None => Uri::from_static("/"),
    };
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers(incoming.headers().entries())?;
    Ok(request)
}

fn accept_with_body(incoming: IncomingRequest) -> Result<Request, RequestError> {
    let request = wstd::http::request::try_from_incoming(incoming)
        .map_err(|error| RequestError::Other(error.to_string()))?;
    Ok(request.map(|body| Body::new(body.into_boxed_body())))
}

fn headers(entries: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, RequestError> {
    let mut headers = HeaderMap::with_capacity(entries.len());
    for (name, value) in entries {
        headers.append(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}
