//! How much of a response body its reader will ask for.
//!
//! A reader that knows the length stops there and never asks for the end, so code that
//! waits for the end of a body has to know the length too.

use http::{Method, header};

use super::has_content;

/// Bytes of the body of a response to a `method` request, if known in advance
/// (RFC 9110, 6.4.1, and `content-length`).
pub(crate) fn body_length<B>(method: &Method, response: &http::Response<B>) -> Option<u64> {
    if !has_content(method, response.status()) {
        return Some(0);
    }
    response
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_follows_from_method_status_and_header() {
        let response = |status: u16, length: Option<&str>| {
            let mut builder = http::Response::builder().status(status);
            if let Some(length) = length {
                builder = builder.header(header::CONTENT_LENGTH, length);
            }
            builder.body(()).expect("a response")
        };
        assert_eq!(
            body_length(&Method::GET, &response(200, Some("12"))),
            Some(12)
        );
        assert_eq!(
            body_length(&Method::HEAD, &response(200, Some("12"))),
            Some(0)
        );
        assert_eq!(
            body_length(&Method::GET, &response(304, Some("12"))),
            Some(0)
        );
        assert_eq!(body_length(&Method::GET, &response(204, None)), Some(0));
        assert_eq!(body_length(&Method::GET, &response(200, None)), None);
        assert_eq!(
            body_length(&Method::GET, &response(200, Some("many"))),
            None
        );
    }
}
