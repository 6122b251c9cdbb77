//! Errors as callers see them: `application/problem+json` (RFC 9457).
//!
//! The text is for the caller. Details for the operator are logged where the problem is
//! created.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::client::CallError;
use crate::database::DatabaseError;

/// An error response. `detail` says what is wrong with this request and what would be
/// correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
}

#[derive(Serialize)]
struct ProblemDocument<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        crate::log(format_args!("database: {error}"));
        if error.is_temporary() {
            Self::unavailable("the database cannot answer right now; try again")
        } else {
            Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the service failed; its log says why",
            )
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        crate::log(format_args!("call: {error}"));
        Self::unavailable("a service that this one needs cannot answer right now; try again")
    }
}

/// The fallback of a router, for unknown paths.
pub async fn no_such_path(uri: http::Uri) -> Problem {
    Problem::not_found(format!("nothing is served at {}", uri.path()))
}

/// The fallback of a path, for unsupported methods.
pub async fn no_such_method(method: http::Method, uri: http::Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not served at {}", uri.path()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_has_its_status_and_media_type() {
        let response = Problem::bad_request("rating: 11 is not in 1..10").into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
    }

    #[test]
    fn busy_database_is_temporary_and_invalid_statement_is_an_internal_error() {
        let busy = Problem::from(DatabaseError::Busy("locked".into()));
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        let ours = Problem::from(DatabaseError::InvalidStatement("near SELEC".into()));
        assert_eq!(ours.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            !ours.detail().contains("SELEC"),
            "statements are not shown to callers"
        );
    }
}
