//! Fetches the reviews of a product from the review service.

use std::time::Duration;

use serde_json::value::RawValue;
use shop_platform::client::{self, CallError};
use shop_platform::config_or;

/// The address of the review service if `PRODUCTREVIEW_URL` is not set.
const BASE_URL_DEFAULT: &str = "http://productreviewservice.shoppingportal.svc.cluster.local";

/// How long a product page waits for its reviews. The page works without them, so the
/// value limits the delay that a caller accepts, not the time that a review needs.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why a product is shown without reviews.
#[derive(Debug, thiserror::Error)]
enum ReviewsError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the review service answered with status {0}")]
    Status(u16),
    #[error("the review service did not answer with a list")]
    NotAList,
}

/// A client of the review service.
#[derive(Debug, Clone)]
pub(crate) struct Reviews {
    base_url: String,
    timeout: Duration,
}

impl Reviews {
    pub(crate) fn from_config() -> Self {
        Self::at(&config_or("PRODUCTREVIEW_URL", BASE_URL_DEFAULT), TIMEOUT)
    }

    pub(crate) fn at(base_url: &str, timeout: Duration) -> Self {
        Self {
            base_url: base_url.trim_end_matches('/').to_owned(),
            timeout,
        }
    }

    /// The reviews exactly as the review service wrote them, or `None` and a line in the
    /// log if it does not respond.
    pub(crate) async fn of(&self, product_id: i64) -> Option<Box<RawValue>> {
        match self.fetch(product_id).await {
            Ok(reviews) => Some(reviews),
            Err(error) => {
                shop_platform::log(format_args!("product {product_id} has no reviews: {error}"));
                None
            }
        }
    }

    async fn fetch(&self, product_id: i64) -> Result<Box<RawValue>, ReviewsError> {
        let url = format!(
            "{}/productreviewms/productreview/{product_id}",
            self.base_url
        );
        let answer = client::get_json(&url, self.timeout).await?;
        if !answer.status.is_success() {
            return Err(ReviewsError::Status(answer.status.as_u16()));
        }
        serde_json::from_slice::<Box<RawValue>>(&answer.body)
            .ok()
            .filter(|reviews| reviews.get().starts_with('['))
            .ok_or(ReviewsError::NotAList)
    }
}
