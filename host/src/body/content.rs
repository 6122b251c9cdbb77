//! Responses without content: those to HEAD, and those with a status that excludes it
//! (RFC 9110, 6.4.1).

use http::{HeaderValue, Method, StatusCode, header};
use http_body::Body;

/// Whether the response with `status` to a `method` request can have content.
pub(crate) fn has_content(method: &Method, status: StatusCode) -> bool {
    let is_none = method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    !is_none
}

/// Leaves out the content of a response that cannot have any; `clear` empties its body. A
/// response to HEAD says how long the content would be, if that is known, and one with 204 or 1xx
/// says nothing (RFC 9110, 8.6).
pub(crate) fn settle_content<B: Body>(
    method: &Method,
    response: &mut http::Response<B>,
    clear: impl FnOnce(&mut B),
) {
    let status = response.status();
    if has_content(method, status) {
        return;
    }
    let length = response.body().size_hint().exact();
    clear(response.body_mut());
    let headers = response.headers_mut();
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        headers.remove(header::CONTENT_LENGTH);
    } else if status != StatusCode::NOT_MODIFIED
        && let Some(length) = length.filter(|length| *length > 0)
    {
        let length = || HeaderValue::from(length);
        headers.entry(header::CONTENT_LENGTH).or_insert_with(length);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;

    use super::*;

    #[test]
    fn response_has_no_content_where_http_allows_none() {
        // Method, status, `content-length`, content; the same after.
        for (method, status, before, content, after) in [
            ("GET", 200, None, "four", (None, 4)),
            ("GET", 200, Some("4"), "four", (Some("4"), 4)),
            ("HEAD", 200, None, "four", (Some("4"), 0)),
            ("HEAD", 200, Some("7"), "", (Some("7"), 0)),
            ("HEAD", 200, Some("7"), "four", (Some("7"), 0)),
            ("HEAD", 404, None, "", (None, 0)),
            ("GET", 204, Some("4"), "four", (None, 0)),
            ("HEAD", 204, Some("4"), "", (None, 0)),
            ("GET", 304, Some("4"), "four", (Some("4"), 0)),
            ("GET", 304, None, "four", (None, 0)),
            ("HEAD", 304, None, "four", (None, 0)),
            ("GET", 103, Some("4"), "four", (None, 0)),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let mut response = http::Response::builder().status(status);
            if let Some(length) = before {
                response = response.header(header::CONTENT_LENGTH, length);
            }
            let body = Full::new(Bytes::from_static(content.as_bytes()));
            let mut response = response.body(body).expect("a response");
            settle_content(&method, &mut response, |body| *body = Full::default());
            let length = response.headers().get(header::CONTENT_LENGTH);
            let length = length.map(|it| it.to_str().expect("text"));
            let content = response.body().size_hint().exact().expect("in memory");
            assert_eq!((length, content), after, "{method} {status} {before:?}");
        }
    }
}
