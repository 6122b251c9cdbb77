//! Calls to other services over HTTP.
//!
//! A call has one deadline for connecting, waiting, and reading the response. It is
//! attempted once: the mesh retries, because it knows which requests are safe to retry
//! and which endpoints are healthy.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode, Uri};

/// The largest response that a service reads, in bytes.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A response that has been read completely.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no response. `url` is the called URL.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{url} is not an http URL with a host; check the configured base URL")]
    InvalidUrl { url: String },
    #[error("{url} did not answer within {timeout:?}")]
    TimedOut { url: String, timeout: Duration },
    #[error("{url} could not be called: {reason}")]
    Failed { url: String, reason: String },
    #[error("{url} answered with more than {ANSWER_BYTES_MAX} bytes")]
    AnswerTooLarge { url: String },
}

/// `GET url`, expecting JSON.
///
/// # Errors
/// No complete response arrived within `timeout`. A response with an error status is not
/// an error.
pub async fn get_json(url: &str, timeout: Duration) -> Result<Answer, CallError> {
    let request = OutgoingCall {
        method: Method::GET,
        uri: parse(url)?,
        body: None,
    };
    crate::backend::client::call(url, request, timeout).await
}

/// `POST url` with a JSON body.
///
/// # Errors
/// See [`get_json`].
pub async fn post_json(url: &str, body: Vec<u8>, timeout: Duration) -> Result<Answer, CallError> {
    let request = OutgoingCall {
        method: Method::POST,
        uri: parse(url)?,
        body: Some(body.into()),
    };
    crate::backend::client::call(url, request, timeout).await
}

/// A validated call: the URI has a host.
pub(crate) struct OutgoingCall {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// A JSON document.
    pub(crate) body: Option<Bytes>,
}

fn parse(url: &str) -> Result<Uri, CallError> {
    match url.parse::<Uri>() {
        Ok(uri) if uri.scheme_str() == Some("http") && uri.host().is_some() => Ok(uri),
        _ => Err(CallError::InvalidUrl {
            url: url.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_urls_with_a_host_are_called() {
        assert!(parse("http://productservice.shoppingportal/productms").is_ok());
        for url in [
            "",
            "productservice",
            "/productms",
            "ftp://host/",
            "http:///path",
            "http://a b/",
        ] {
            assert!(
                matches!(parse(url), Err(CallError::InvalidUrl { .. })),
                "{url:?}"
            );
        }
    }
}
