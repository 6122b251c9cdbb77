//! Outgoing requests of a guest.

use http::Uri;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme,
};

use crate::Call;

/// The response.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body, which has not been read yet.
    pub body: IncomingBody,
}

/// Reads the absolute URL in query parameter `name`.
pub fn url(call: &Call, name: &str) -> Result<Uri, String> {
    let text = call
        .parameter(name)
        .ok_or_else(|| format!("give the parameter `{name}`"))?;
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// Performs a GET and waits for status and headers.
pub fn get(url: &Uri, headers: &[(String, String)]) -> Result<Answer, ErrorCode> {
    send("GET", url, headers)
}

/// Sends a request without a body and waits for status and headers.
pub fn send(method: &str, url: &Uri, headers: &[(String, String)]) -> Result<Answer, ErrorCode> {
    let fields = Fields::new();
    for (name, value) in headers {
        fields.append(name, value.as_bytes()).map_err(refused)?;
    }
    let scheme = match url.scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        other => Method::Other(other.to_owned()),
    };
    let request = OutgoingRequest::new(fields);
    request
        .set_method(&method)
        .map_err(|()| ErrorCode::HttpRequestMethodInvalid)?;
    request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(url.authority().map(|name| name.as_str())))
        .and_then(|()| request.set_path_with_query(Some(target)))
        .map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    let body = request.body().expect("a new request has its body");
    let response = outgoing_handler::handle(request, None)?;
    OutgoingBody::finish(body, None)?;
    response.subscribe().block();
    let response = response
        .get()
        .expect("a ready response exists")
        .expect("the response is taken only once")?;
    let body = response.consume().expect("a new response has its body");
    Ok(Answer {
        status: response.status(),
        body,
    })
}

fn refused(error: wasip2::http::types::HeaderError) -> ErrorCode {
    ErrorCode::InternalError(Some(format!("header refused: {error}")))
}
