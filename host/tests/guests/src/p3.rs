//! Requests and responses of WASI 0.3, where one instance serves many requests at once.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use http::Uri;
use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_bindgen, wit_future, wit_stream};

/// The path without its query.
pub fn path(request: &Request) -> String {
    let mut path = target(request);
    path.truncate(path.find('?').unwrap_or(path.len()));
    path
}

/// The first value of a query parameter, decoded.
pub fn parameter(request: &Request, name: &str) -> Option<String> {
    let target = target(request);
    let (_, query) = target.split_once('?')?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// A response with a short text.
pub fn text(status: u16, text: String) -> Response {
    let (mut sender, receiver) = wit_stream::new();
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(Fields::new(), Some(receiver), trailers);
    response
        .set_status_code(status)
        .expect("a guest sends only legal status codes");
    wit_bindgen::spawn_local(async move {
        // The remainder was for a caller that has disconnected.
        sender.write_all(text.into_bytes()).await;
    });
    response
}

/// Performs a GET and waits for status and headers.
pub async fn get(url: &Uri) -> Result<Response, ErrorCode> {
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    let scheme = match url.scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    request
        .set_scheme(Some(&scheme))
        .and_then(|()| request.set_authority(url.authority().map(|name| name.as_str())))
        .and_then(|()| request.set_path_with_query(Some(target)))
        .map_err(|()| ErrorCode::HttpRequestUriInvalid)?;
    client::send(request).await
}

/// Responds with 200 and the body and trailers of another response, and its status in
/// `x-upstream-status`.
pub fn pass_on(upstream: Response) -> Result<Response, ErrorCode> {
    let headers = Fields::new();
    let status = upstream.get_status_code().to_string();
    headers
        .append("x-upstream-status", status.as_bytes())
        .map_err(|error| ErrorCode::InternalError(Some(error.to_string())))?;
    let (_, received) = wit_future::new(|| Ok(()));
    let (body, trailers) = Response::consume_body(upstream, received);
    Ok(Response::new(headers, Some(body), trailers).0)
}

/// Runs two futures concurrently.
pub async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut other) = (None, None);
    poll_fn(|context| {
        if one.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            one = Some(output);
        }
        if other.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            other = Some(output);
        }
        match (one.take(), other.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (first, second) => {
                (one, other) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

fn target(request: &Request) -> String {
    request.get_path_with_query().unwrap_or_else(|| "/".into())
}
