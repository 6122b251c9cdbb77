//! The paths of the service and their handlers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use shop_platform::{
    BODY_BYTES_MAX, JsonBody, PathId, Problem, config_or, json, no_such_method, no_such_path, text,
};

use crate::Edition;
use crate::ratings;
use crate::review::{InvalidReview, NewReview};
use crate::store::{Order, Reviews};

/// The delay of the path that demonstrates timeouts.
const SLOW_ANSWER: Duration = Duration::from_secs(5);

/// The service, configured by `REVIEW_DATABASE_URL` and
/// `PRODUCTREVIEW_VERSION`.
pub fn router(edition: Edition) -> Router {
    let version = config_or("PRODUCTREVIEW_VERSION", edition.version_default());
    routes(Service {
        edition,
        version,
        reviews: Reviews::from_config(),
        slow: SLOW_ANSWER,
    })
}

/// State that the handlers share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) edition: Edition,
    pub(crate) version: String,
    pub(crate) reviews: Reviews,
    /// The delay of the slow response.
    pub(crate) slow: Duration,
}

impl Service {
    fn order(&self) -> Order {
        match self.edition {
            Edition::V1 => Order::OldestFirst,
            Edition::V2 => Order::NewestFirst,
        }
    }
}

pub(crate) fn routes(service: Service) -> Router {
    let mut router = Router::new()
        .route("/productreviewms/productreview/{id}", get(list).post(add))
        .route("/productreviewms/productreview/ratings", get(ratings))
        .route("/productreviewms/productreview/timeout/{id}", get(slow))
        .route("/productreviewms/check/live", get(live))
        .route("/productreviewms/check/ready", get(ready));
    if service.edition == Edition::V2 {
        router = router.route("/productreviewms/productreview/summary/{id}", get(summary));
    }
    router
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(service))
}

async fn list(
    State(service): State<Arc<Service>>,
    PathId(product_id): PathId,
) -> Result<Response, Problem> {
    json(
        StatusCode::OK,
        &service.reviews.list(product_id, service.order()).await?,
    )
}

async fn add(
    State(service): State<Arc<Service>>,
    PathId(product_id): PathId,
    JsonBody(review): JsonBody<NewReview>,
) -> Result<Response, Problem> {
    let review = service.reviews.add(product_id, review.checked()?).await?;
    json(StatusCode::CREATED, &review)
}

/// The list of reviews after a delay, to demonstrate timeouts.
async fn slow(
    State(service): State<Arc<Service>>,
    PathId(product_id): PathId,
) -> Result<Response, Problem> {
    shop_platform::sleep(service.slow).await;
    json(
        StatusCode::OK,
        &service.reviews.list(product_id, service.order()).await?,
    )
}

async fn summary(
    State(service): State<Arc<Service>>,
    PathId(product_id): PathId,
) -> Result<Response, Problem> {
    json(StatusCode::OK, &service.reviews.summary(product_id).await?)
}

/// The averages of all products, as of the last run of the nightly job.
async fn ratings(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    let database = service.reviews.database().await?;
    json(StatusCode::OK, &ratings::list(database).await?)
}

async fn live(State(service): State<Arc<Service>>) -> Response {
    text(format!("App is Live {}", service.version))
}

/// Ready means that reviews can be read.
async fn ready(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    service.reviews.check().await?;
    Ok(text("App is Ready"))
}

impl From<InvalidReview> for Problem {
    fn from(error: InvalidReview) -> Self {
        Self::bad_request(error.to_string())
    }
}
