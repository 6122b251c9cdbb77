//! The paths of the service and their handlers.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Serialize;
use serde_json::value::RawValue;
use shop_platform::{
    BODY_BYTES_MAX, JsonBody, PathId, Problem, Query, config_or, json, no_such_method,
    no_such_path, text,
};

use crate::Edition;
use crate::catalogue::{CatalogueQuery, InvalidSelection, Selection};
use crate::envelope::Envelope;
use crate::product::{InvalidProduct, NewProduct, Product};
use crate::reviews::Reviews;
use crate::store::Products;

/// The service, configured by `PRODUCT_DATABASE_URL`, `PRODUCTREVIEW_URL` and
/// `PRODUCTMS_VERSION`.
pub fn router(edition: Edition) -> Router {
    let version = config_or("PRODUCTMS_VERSION", edition.version_default());
    routes(Service::new(
        edition,
        version,
        Products::from_config(),
        Reviews::from_config(),
    ))
}

/// State that the handlers share.
#[derive(Debug)]
pub(crate) struct Service {
    edition: Edition,
    version: String,
    version_with_reviews: String,
    products: Products,
    reviews: Reviews,
}

impl Service {
    pub(crate) fn new(
        edition: Edition,
        version: String,
        products: Products,
        reviews: Reviews,
    ) -> Self {
        let version_with_reviews = format!("{version} > Product Review");
        Self {
            edition,
            version,
            version_with_reviews,
            products,
            reviews,
        }
    }
}

pub(crate) fn routes(service: Service) -> Router {
    Router::new()
        .route("/productms/product/catalogue", get(catalogue))
        .route("/productms/product/catalogue/{id}", get(details))
        .route("/productms/product/version", get(version))
        .route("/productms/product/", post(add))
        .route("/productms/product", post(add))
        .route("/productms/check/live", get(live))
        .route("/productms/check/ready", get(ready))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(service))
}

/// A product with the reviews of its customers.
#[derive(Debug, Serialize)]
struct ProductDetails {
    #[serde(flatten)]
    product: Product,
    /// Null if the review service does not respond.
    reviews: Option<Box<RawValue>>,
}

async fn catalogue(
    State(service): State<Arc<Service>>,
    Query(query): Query<CatalogueQuery>,
) -> Result<Response, Problem> {
    let selection = match service.edition {
        Edition::V1 => Selection::default(),
        Edition::V2 => Selection::try_from(query)?,
    };
    let products = service.products.list(&selection).await?;
    json(StatusCode::OK, &Envelope::now(&service.version, products))
}

async fn details(
    State(service): State<Arc<Service>>,
    PathId(id): PathId,
) -> Result<Response, Problem> {
    let Some(product) = service.products.find(id).await? else {
        return Err(Problem::not_found(format!("there is no product {id}")));
    };
    let reviews = service.reviews.of(id).await;
    let version = if reviews.is_some() {
        &service.version_with_reviews
    } else {
        &service.version
    };
    json(
        StatusCode::OK,
        &Envelope::now(version, ProductDetails { product, reviews }),
    )
}

async fn add(
    State(service): State<Arc<Service>>,
    JsonBody(product): JsonBody<NewProduct>,
) -> Result<Response, Problem> {
    let product = service.products.add(product.checked()?).await?;
    let location = format!("/productms/product/catalogue/{}", product.product_id);
    let mut response = json(
        StatusCode::CREATED,
        &Envelope::now(&service.version, product),
    )?;
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn version(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    json(
        StatusCode::OK,
        &Envelope::now(&service.version, &service.version),
    )
}

async fn live(State(service): State<Arc<Service>>) -> Response {
    text(format!("App is Live {}", service.version))
}

/// Ready means that the catalogue can be read.
async fn ready(State(service): State<Arc<Service>>) -> Result<Response, Problem> {
    service.products.check().await?;
    Ok(text("App is Ready"))
}

impl From<InvalidSelection> for Problem {
    fn from(error: InvalidSelection) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<InvalidProduct> for Problem {
    fn from(error: InvalidProduct) -> Self {
        Self::bad_request(error.to_string())
    }
}
