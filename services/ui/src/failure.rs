//! The error page that customers see, and its status.

use axum::http::StatusCode;
use shop_platform::Problem;

use crate::products::ShopError;

/// A page that is shown instead of the requested one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) title: &'static str,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn no_such_page() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            title: "This page does not exist",
            text: "The address may be mistyped, or the page has moved.".to_owned(),
        }
    }

    pub(crate) fn no_such_method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            title: "This page cannot do that",
            text: "Please use the links and forms of the shop.".to_owned(),
        }
    }
}

/// A service that does not respond gives 503: the same request may succeed soon. An
/// invalid response gives 502: repeating the request will not help.
impl From<ShopError> for Failure {
    fn from(error: ShopError) -> Self {
        let (status, title, text) = match &error {
            ShopError::NoSuchProduct => (
                StatusCode::NOT_FOUND,
                "We do not have this product",
                "It may have been sold out and removed from the catalogue.",
            ),
            ShopError::Refused(reason) => {
                return Self {
                    status: StatusCode::BAD_REQUEST,
                    title: "Your review was not accepted",
                    text: reason.clone(),
                };
            }
            ShopError::NotUnderstood { .. } | ShopError::Failed { status: ..500, .. } => (
                StatusCode::BAD_GATEWAY,
                "Something went wrong on our side",
                "The catalogue gave an answer that we could not read. We have been told.",
            ),
            ShopError::Unreachable(_) | ShopError::Failed { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The catalogue is taking a short break",
                "Our shelves are still there, we just cannot reach them right now. \
                 Please try again in a moment.",
            ),
        };
        if status.is_server_error() {
            shop_platform::log(&error);
        }
        Self {
            status,
            title,
            text: text.to_owned(),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.status(),
            title: "We could not read that",
            text: problem.detail().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unavailable_service_is_503_and_invalid_response_is_502() {
        let status = |error: ShopError| Failure::from(error).status.as_u16();
        let failed = |status| ShopError::Failed {
            service: "it",
            status,
        };
        assert_eq!(status(failed(500)), 503);
        assert_eq!(status(failed(503)), 503);
        assert_eq!(status(failed(418)), 502);
        assert_eq!(status(ShopError::NoSuchProduct), 404);
        let nonsense = ShopError::NotUnderstood {
            service: "it",
            reason: "no".into(),
        };
        assert_eq!(status(nonsense), 502);
    }
}
