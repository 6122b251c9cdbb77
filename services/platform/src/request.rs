//! Reads parts of a request: path ids, query strings, JSON bodies and forms. Each fails
//! with a [`Problem`] that says what is wrong.

use axum::extract::{FromRequest, FromRequestParts, Path, RawQuery, Request};
use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::Problem;

/// The largest request body that a service reads, in bytes. A product or a review has a
/// few hundred; 64 KiB leaves room and limits the memory that one caller can use.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The `{id}` of a path: a positive whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathId(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the path is not valid UTF-8"))?;
        match text.parse() {
            Ok(id) if id > 0 => Ok(Self(id)),
            _ => Err(Problem::bad_request(format!(
                "id: {text:?} is not a positive whole number"
            ))),
        }
    }
}

/// The query string, deserialized into `T`. Unknown keys are ignored.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Ok(RawQuery(query)) = RawQuery::from_request_parts(parts, state).await;
        serde_urlencoded::from_str(query.as_deref().unwrap_or_default())
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("query: {error}")))
    }
}

/// A JSON body, deserialized into `T`. The content type is not checked: a body that is
/// not JSON fails to parse.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = read_body(request, state).await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("body: {error}")))
    }
}

/// A posted form (`application/x-www-form-urlencoded`), deserialized into `T`.
#[derive(Debug)]
pub struct Form<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = read_body(request, state).await?;
        serde_urlencoded::from_bytes(&body)
            .map(Self)
            .map_err(|error| Problem::bad_request(format!("form: {error}")))
    }
}

async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state)
        .await
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {BODY_BYTES_MAX} bytes"),
            ),
            _ => Problem::bad_request("the body could not be read to its end"),
        })
}
