//! The paths of the storefront and their handlers.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use maud::Markup;
use serde::Deserialize;
use shop_platform::{BODY_BYTES_MAX, Form, PathId, Problem, Query, config_or, text};

use crate::Edition;
use crate::assets::Asset;
use crate::failure::Failure;
use crate::pages::catalogue::{CatalogueQuery, catalogue_page};
use crate::pages::details::{ReviewSection, details_page};
use crate::pages::{Shell, failure_page};
use crate::products::{Shop, ShopError};
use crate::review_form::FormValues;

/// Pages load nothing from other hosts, run no scripts and cannot be framed.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

/// The service, configured by `PRODUCTMS_URL`, `PRODUCTREVIEW_URL`,
/// `UI_VERSION` and `UI_CURRENCY`.
pub fn router(edition: Edition) -> Router {
    let shell = Shell {
        edition,
        version: config_or("UI_VERSION", edition.version_default()),
        currency: config_or("UI_CURRENCY", "₹"),
    };
    routes(Storefront {
        shell,
        shop: Shop::from_config(),
    })
}

/// State that the handlers share.
#[derive(Debug)]
pub(crate) struct Storefront {
    pub(crate) shell: Shell,
    pub(crate) shop: Shop,
}

type SharedStorefront = State<Arc<Storefront>>;

pub(crate) fn routes(storefront: Storefront) -> Router {
    Router::new()
        .route("/ui", get(catalogue))
        .route("/ui/", get(catalogue))
        .route("/ui/product/{id}", get(details))
        .route(
            "/ui/product/{id}/review",
            post(post_review).get(back_to_product),
        )
        .route("/ui/static/{name}", get(asset))
        .route("/ui/check/live", get(live))
        .route("/ui/check/ready", get(ready))
        .fallback(no_such_page)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(storefront))
}

async fn catalogue(
    State(storefront): SharedStorefront,
    query: Result<Query<CatalogueQuery>, Problem>,
) -> Response {
    let Storefront { shell, shop } = &*storefront;
    let query = match query {
        Ok(Query(query)) => query.for_edition(shell.edition),
        Err(problem) => return fail(shell, problem),
    };
    match shop.catalogue(&query.for_product_service()).await {
        Ok(catalogue) => page(StatusCode::OK, catalogue_page(shell, &query, &catalogue)),
        Err(error) => fail(shell, error),
    }
}

/// Set in the redirect after a review was stored.
#[derive(Debug, Deserialize)]
struct DetailsQuery {
    review: Option<String>,
}

async fn details(
    State(storefront): SharedStorefront,
    id: Result<PathId, Problem>,
    query: Result<Query<DetailsQuery>, Problem>,
) -> Response {
    let Storefront { shell, shop } = &*storefront;
    let Ok(PathId(id)) = id else {
        return fail(shell, ShopError::NoSuchProduct);
    };
    let posted = query.is_ok_and(|Query(query)| query.review.as_deref() == Some("posted"));
    let section = if posted {
        ReviewSection::Posted
    } else {
        ReviewSection::Empty
    };
    match shop.details(id).await {
        Ok(details) => page(StatusCode::OK, details_page(shell, &details, &section)),
        Err(error) => fail(shell, error),
    }
}

async fn post_review(
    State(storefront): SharedStorefront,
    id: Result<PathId, Problem>,
    form: Result<Form<FormValues>, Problem>,
) -> Response {
    let Storefront { shell, shop } = &*storefront;
    let Ok(PathId(id)) = id else {
        return fail(shell, ShopError::NoSuchProduct);
    };
    let typed = match form {
        Ok(Form(typed)) => typed,
        Err(problem) => return fail(shell, problem),
    };
    // The review service does not know which products exist.
    let details = match shop.details(id).await {
        Ok(details) => details,
        Err(error) => return fail(shell, error),
    };
    let (status, section) = match typed.check() {
        Err(mistakes) => (
            StatusCode::BAD_REQUEST,
            ReviewSection::Mistaken { typed, mistakes },
        ),
        Ok(draft) => match shop.post_review(id, &draft).await {
            Ok(()) => return see_other(&format!("/ui/product/{id}?review=posted#reviews")),
            Err(ShopError::Refused(reason)) => (
                StatusCode::BAD_REQUEST,
                ReviewSection::NotStored { typed, reason },
            ),
            Err(error) => {
                let status = Failure::from(error).status;
                let reason = "We could not store your review just now. Nothing you wrote is \
                              lost: please try again in a moment.";
                (
                    status,
                    ReviewSection::NotStored {
                        typed,
                        reason: reason.to_owned(),
                    },
                )
            }
        },
    };
    page(status, details_page(shell, &details, &section))
}

/// The target of a reload after a rejected form.
async fn back_to_product(
    State(storefront): SharedStorefront,
    id: Result<PathId, Problem>,
) -> Response {
    match id {
        Ok(PathId(id)) => see_other(&format!("/ui/product/{id}")),
        Err(_) => fail(&storefront.shell, Failure::no_such_page()),
    }
}

async fn asset(
    State(storefront): SharedStorefront,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match Asset::find(&name) {
        Some(asset) => asset.answer(query.as_deref()),
        None => fail(&storefront.shell, Failure::no_such_page()),
    }
}

async fn live(State(storefront): SharedStorefront) -> Response {
    text(format!("App is Live {}", storefront.shell.version))
}

/// The storefront stores nothing, and has an error page for every service that does not
/// respond, so it is ready as soon as it runs.
async fn ready() -> Response {
    text("App is Ready")
}

async fn no_such_page(State(storefront): SharedStorefront) -> Response {
    fail(&storefront.shell, Failure::no_such_page())
}

async fn no_such_method(State(storefront): SharedStorefront) -> Response {
    fail(&storefront.shell, Failure::no_such_method())
}

fn fail(shell: &Shell, failure: impl Into<Failure>) -> Response {
    let failure = failure.into();
    let status = failure.status;
    let mut response = page(status, failure_page(shell, &failure));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

fn page(status: StatusCode, markup: Markup) -> Response {
    let mut response = Response::new(Body::from(markup.into_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    // The version that a customer sees is decided for each request.
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("same-origin"),
    );
    response
}

/// Every path passed to this function consists of constants and numbers.
fn see_other(path: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
