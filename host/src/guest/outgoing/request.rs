//! A guest's outgoing request as the mesh understands it.

use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use wasmtime_wasi_http::WasiHttpHooks;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode};
use wasmtime_wasi_http::p2::http_request_error;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;

use crate::{Request, body};

/// # Errors
/// The code for the guest: a method, scheme or URI that does not exist, or a length of the body
/// that cannot be right.
pub(super) fn read(
    request: HostOutgoingRequest,
    hooks: &mut dyn WasiHttpHooks,
) -> Result<Request, ErrorCode> {
    // The length of a body is checked against the header while the guest writes it.
    let length = content_length(&request.headers)?;
    if request.body.is_none() && length.is_some_and(|length| length != 0) {
        return Err(ErrorCode::HttpRequestBodySize(Some(0)));
    }
    let method: Result<Method, _> = request.method.try_into();
    let method = method.map_err(|_| ErrorCode::HttpRequestMethodInvalid)?;
    let authority = request.authority.unwrap_or_default();
    let host = HeaderValue::from_str(&authority).map_err(|_| ErrorCode::HttpRequestUriInvalid)?;
    let mut uri = Uri::builder()
        .scheme(scheme(request.scheme, hooks)?)
        .authority(authority);
    if let Some(path) = request.path_with_query {
        uri = uri.path_and_query(path);
    }
    let uri = uri.build().map_err(http_request_error)?;
    let mut outgoing = Request::new(request.body.unwrap_or_else(body::empty));
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = HeaderMap::from(request.headers);
    outgoing.headers_mut().insert(header::HOST, host);
    Ok(outgoing)
}

fn scheme(
    scheme: Option<types::Scheme>,
    hooks: &mut dyn WasiHttpHooks,
) -> Result<Scheme, ErrorCode> {
    let scheme = match scheme {
        None => hooks.default_scheme(),
        Some(types::Scheme::Http) => Some(Scheme::HTTP),
        Some(types::Scheme::Https) => Some(Scheme::HTTPS),
        Some(types::Scheme::Other(name)) => Scheme::try_from(name.as_str()).ok(),
    };
    scheme
        .filter(|scheme| hooks.is_supported_scheme(scheme))
        .ok_or(ErrorCode::HttpProtocolError)
}

/// A message's length has one meaning only if it is digits, once.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, ErrorCode> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let (first, second) = (values.next(), values.next());
    let Some(value) = first else {
        return Ok(None);
    };
    let digits = value
        .to_str()
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(length) if second.is_none() => Ok(Some(length)),
        _ => Err(ErrorCode::InternalError(Some(
            "invalid `content-length` header".into(),
        ))),
    }
}
