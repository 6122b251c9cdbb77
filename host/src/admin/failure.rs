//! Why the admin API does not do what it was asked, as a Kubernetes `Status`.
//!
//! The only file that knows which code and reason belong together; a message is
//! for whoever runs kubectl and never holds a value of a Secret or a token.

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::kind::Kind;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("too many wrong tokens; wait a second")]
    TooManyGuesses,
    #[error("{0}")]
    Forbidden(String),
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    #[error("{} \"{name}\" not found", kind.resource())]
    NotFound { kind: &'static Kind, name: String },
    #[error("{0}")]
    BadRequest(String),
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    #[error("too old resource version: {requested} (oldest kept: {oldest})")]
    Expired { requested: u64, oldest: u64 },
    #[error("too many requests: {0}")]
    TooManyRequests(&'static str),
}

impl Failure {
    fn code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoSuchPath | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expired { .. } => StatusCode::GONE,
            Self::TooManyGuesses | Self::TooManyRequests(_) => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// What clients decide by.
    fn reason(&self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden(_) => "Forbidden",
            Self::NoSuchPath | Self::NotFound { .. } => "NotFound",
            Self::BadRequest(_) => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Expired { .. } => "Expired",
            Self::TooManyGuesses | Self::TooManyRequests(_) => "TooManyRequests",
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::NotFound { kind, name } => {
                json!({"name": name, "group": kind.group, "kind": kind.plural})
            }
            Self::TooManyGuesses | Self::TooManyRequests(_) => json!({"retryAfterSeconds": 1}),
            _ => json!({}),
        }
    }

    /// The object, for an answer or an event of a watch.
    pub(crate) fn status(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": self.reason(),
            "details": self.details(),
            "code": self.code().as_u16(),
        })
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.status().to_string()));
        *response.status_mut() = self.code();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.code() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code() == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
