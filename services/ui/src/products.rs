//! Clients of the product and review services.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use shop_platform::client::{self, Answer, CallError};
use shop_platform::config_or;

use crate::price::Price;
use crate::review_form::Draft;

/// The addresses of the services if `PRODUCTMS_URL` and `PRODUCTREVIEW_URL` are not set.
const PRODUCTS_URL_DEFAULT: &str = "http://productservice.shoppingportal.svc.cluster.local";
const REVIEWS_URL_DEFAULT: &str = "http://productreviewservice.shoppingportal.svc.cluster.local";

/// How long a page waits for a service. The product service stops waiting for reviews
/// after 2 s, which leaves it time to respond without them.
const TIMEOUT: Duration = Duration::from_secs(4);

/// A product of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Product {
    pub(crate) product_id: i64,
    pub(crate) category: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) price: Price,
}

/// A customer's review.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Review {
    pub(crate) author: String,
    pub(crate) desc: String,
    pub(crate) rating: u8,
    /// RFC 3339.
    pub(crate) review_date: String,
}

/// The catalogue, with the version of the service that responded.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) version: String,
    pub(crate) products: Vec<Product>,
}

/// A product, with its reviews if they are available.
#[derive(Debug)]
pub(crate) struct Details {
    pub(crate) version: String,
    pub(crate) product: Product,
    pub(crate) reviews: Option<Vec<Review>>,
}

/// Why the storefront has no content to show.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error("there is no such product")]
    NoSuchProduct,
    #[error("the review was refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Unreachable(#[from] CallError),
    #[error("{service} failed with status {status}")]
    Failed { service: &'static str, status: u16 },
    #[error("{service} answered what the storefront does not understand: {reason}")]
    NotUnderstood {
        service: &'static str,
        reason: String,
    },
}

const PRODUCT_SERVICE: &str = "the product service";
const REVIEW_SERVICE: &str = "the review service";

/// The services that the storefront calls.
#[derive(Debug)]
pub(crate) struct Shop {
    products_url: String,
    reviews_url: String,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    version: String,
    #[serde(borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct ReviewsField {
    reviews: Option<Vec<Review>>,
}

#[derive(Deserialize)]
struct ProblemDetail {
    detail: String,
}

impl Shop {
    pub(crate) fn from_config() -> Self {
        Self::at(
            &config_or("PRODUCTMS_URL", PRODUCTS_URL_DEFAULT),
            &config_or("PRODUCTREVIEW_URL", REVIEWS_URL_DEFAULT),
        )
    }

    pub(crate) fn at(products_url: &str, reviews_url: &str) -> Self {
        let base = |url: &str| url.trim_end_matches('/').to_owned();
        Self {
            products_url: base(products_url),
            reviews_url: base(reviews_url),
        }
    }

    /// The catalogue; `query` is empty or a query string including `?`.
    pub(crate) async fn catalogue(&self, query: &str) -> Result<Catalogue, ShopError> {
        let url = format!("{}/productms/product/catalogue{query}", self.products_url);
        let answer = client::get_json(&url, TIMEOUT).await?;
        let envelope = open_envelope(&answer)?;
        Ok(Catalogue {
            version: envelope.version,
            products: understand(envelope.response.get())?,
        })
    }

    pub(crate) async fn details(&self, product_id: i64) -> Result<Details, ShopError> {
        let url = format!(
            "{}/productms/product/catalogue/{product_id}",
            self.products_url
        );
        let answer = client::get_json(&url, TIMEOUT).await?;
        let envelope = open_envelope(&answer)?;
        let document = envelope.response.get();
        // Reviews in an unknown format count as missing.
        let reviews = serde_json::from_str::<ReviewsField>(document).ok();
        Ok(Details {
            version: envelope.version,
            product: understand(document)?,
            reviews: reviews.and_then(|field| field.reviews),
        })
    }

    pub(crate) async fn post_review(
        &self,
        product_id: i64,
        draft: &Draft,
    ) -> Result<(), ShopError> {
        let url = format!(
            "{}/productreviewms/productreview/{product_id}",
            self.reviews_url
        );
        let body = serde_json::to_vec(draft).map_err(|error| ShopError::NotUnderstood {
            service: REVIEW_SERVICE,
            reason: error.to_string(),
        })?;
        let answer = client::post_json(&url, body, TIMEOUT).await?;
        match answer.status.as_u16() {
            200..=299 => Ok(()),
            status @ 400..=499 => Err(serde_json::from_slice::<ProblemDetail>(&answer.body)
                .map_or(
                    ShopError::Failed {
                        service: REVIEW_SERVICE,
                        status,
                    },
                    |problem| ShopError::Refused(problem.detail),
                )),
            status => Err(ShopError::Failed {
                service: REVIEW_SERVICE,
                status,
            }),
        }
    }
}

fn open_envelope(answer: &Answer) -> Result<Envelope<'_>, ShopError> {
    match answer.status.as_u16() {
        200 => serde_json::from_slice(&answer.body).map_err(|error| not_understood(&error)),
        404 => Err(ShopError::NoSuchProduct),
        status => Err(ShopError::Failed {
            service: PRODUCT_SERVICE,
            status,
        }),
    }
}

fn understand<'a, T: Deserialize<'a>>(document: &'a str) -> Result<T, ShopError> {
    serde_json::from_str(document).map_err(|error| not_understood(&error))
}

fn not_understood(error: &serde_json::Error) -> ShopError {
    ShopError::NotUnderstood {
        service: PRODUCT_SERVICE,
        reason: error.to_string(),
    }
}
