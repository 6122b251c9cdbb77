//! The storefront from a customer's point of view: requests to the router, with stand-ins
//! for the product and review services.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::Edition;
use crate::pages::Shell;
use crate::products::Shop;
use crate::routes::{Storefront, routes};

const CATALOGUE: &str = r#"{"version":"Product 7","responsedate":1,"response":[
    {"productId":1,"category":"2","name":"Apple","description":"A laptop.","price":90000.0},
    {"productId":2,"category":"<i>","name":"<script>alert(1)</script>","description":"\"&'","price":0.5}]}"#;
const DETAILS: &str = r#"{"version":"Product 7 > Product Review","responsedate":1,"response":
    {"productId":1,"category":"2","name":"Apple","description":"A laptop.","price":90000.0,"reviews":
    [{"id":1,"author":"<b>Asha","desc":"Good.","rating":9,"reviewDate":"2025-01-15T09:00:00Z"}]}}"#;
const DETAILS_ALONE: &str = r#"{"version":"Product 7","responsedate":1,"response":
    {"productId":2,"category":"2","name":"Alone","description":"","price":1.0,"reviews":null}}"#;

/// Nothing listens on port 9 (discard).
const NO_SERVICE: &str = "http://127.0.0.1:9";

/// The requests that the stand-in services received.
#[derive(Clone, Default)]
struct ReceivedRequests(Arc<Mutex<Vec<String>>>);

impl ReceivedRequests {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// Working product and review services.
async fn services(received: &ReceivedRequests) -> String {
    let router = Router::new()
        .route(
            "/productms/product/catalogue",
            get(
                |State(received): State<ReceivedRequests>, RawQuery(query): RawQuery| async move {
                    received.note(query.unwrap_or_default());
                    CATALOGUE
                },
            ),
        )
        .route("/productms/product/catalogue/1", get(|| async { DETAILS }))
        .route(
            "/productms/product/catalogue/2",
            get(|| async { DETAILS_ALONE }),
        )
        .route(
            "/productreviewms/productreview/1",
            post(
                |State(received): State<ReceivedRequests>, body: String| async move {
                    received.note(body);
                    StatusCode::CREATED
                },
            ),
        )
        .with_state(received.clone());
    listen(router).await
}

fn storefront(edition: Edition, products_url: &str, reviews_url: &str) -> Router {
    let shell = Shell {
        edition,
        version: "Storefront test".into(),
        currency: "₹".into(),
    };
    routes(Storefront {
        shell,
        shop: Shop::at(products_url, reviews_url),
    })
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    #[track_caller]
    fn assert_says(&self, text: &str) {
        assert!(
            self.text.contains(text),
            "the page does not contain {text:?}: {}",
            self.text
        );
    }
}

async fn send(router: Router, method: Method, path: &str, body: &str) -> Answer {
    let body = Body::from(body.to_owned());
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(body)
        .unwrap();
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    Answer {
        status: head.status,
        headers: head.headers,
        text,
    }
}

async fn browse(edition: Edition, path: &str) -> Answer {
    let url = services(&ReceivedRequests::default()).await;
    send(storefront(edition, &url, &url), Method::GET, path, "").await
}

#[tokio::test]
async fn catalogue_shows_every_product_and_escapes_its_text() {
    let page = browse(Edition::V1, "/ui").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(
        page.headers[header::CONTENT_TYPE],
        "text/html; charset=utf-8"
    );
    page.assert_says("90,000.00");
    page.assert_says("0.50");
    page.assert_says("&lt;script&gt;alert(1)&lt;/script&gt;");
    page.assert_says("Storefront test");
    page.assert_says("Product 7");
    assert!(!page.text.contains("<script"));
}

#[tokio::test]
async fn pages_load_nothing_from_other_hosts() {
    for edition in [Edition::V1, Edition::V2] {
        for path in ["/ui", "/ui/product/1", "/ui/nothing"] {
            let page = browse(edition, path).await;
            let policy = page.headers[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap();
            assert!(policy.starts_with("default-src 'none'"));
            // The policy would block both.
            assert!(!page.text.contains("style="), "{path}");
            assert!(!page.text.contains("://"), "{path}");
        }
    }
}

#[tokio::test]
async fn versions_look_different_and_only_v2_searches() {
    let (v1, v2) = (
        browse(Edition::V1, "/ui").await,
        browse(Edition::V2, "/ui").await,
    );
    v1.assert_says("/ui/static/v1.css");
    v2.assert_says("/ui/static/v2.css");
    v2.assert_says("name=\"search\"");
    assert!(!v1.text.contains("name=\"search\""));
}

#[tokio::test]
async fn v2_forwards_the_search_and_keeps_it_in_its_form() {
    let received = ReceivedRequests::default();
    let url = services(&received).await;
    let path = "/ui?search=%22lamp%22&sort=-price";
    let page = send(storefront(Edition::V2, &url, &url), Method::GET, path, "").await;
    assert_eq!(received.all(), ["search=%22lamp%22&sort=-price"]);
    page.assert_says("value=\"&quot;lamp&quot;\"");
    page.assert_says("<option value=\"-price\" selected>");

    send(storefront(Edition::V1, &url, &url), Method::GET, path, "").await;
    assert_eq!(received.all()[1], "", "v1 has no search");
}

#[tokio::test]
async fn product_page_shows_reviews_and_the_form() {
    let page = browse(Edition::V1, "/ui/product/1").await;
    page.assert_says("&lt;b&gt;Asha");
    page.assert_says("9 out of 10");
    page.assert_says("15 January 2025");
    page.assert_says("action=\"/ui/product/1/review#write\"");
}

#[tokio::test]
async fn product_page_works_without_reviews() {
    let page = browse(Edition::V1, "/ui/product/2").await;
    assert_eq!(page.status, StatusCode::OK);
    page.assert_says("Reviews cannot be shown right now");
}

#[tokio::test]
async fn missing_pages_have_an_error_page() {
    for path in [
        "/ui/product/99",
        "/ui/product/abc",
        "/ui/nothing",
        "/ui/static/nothing.css",
    ] {
        let page = browse(Edition::V1, path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        page.assert_says("Go to the catalogue");
    }
    let url = services(&ReceivedRequests::default()).await;
    let page = send(
        storefront(Edition::V1, &url, &url),
        Method::DELETE,
        "/ui",
        "",
    )
    .await;
    assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn missing_product_service_is_explained() {
    let broken = listen(Router::new().fallback(|| async { StatusCode::SERVICE_UNAVAILABLE })).await;
    for url in [NO_SERVICE, &broken] {
        for path in ["/ui", "/ui/product/1"] {
            let page = send(storefront(Edition::V1, url, url), Method::GET, path, "").await;
            assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(page.headers.contains_key(header::RETRY_AFTER));
            page.assert_says("taking a short break");
        }
    }
}

#[tokio::test]
async fn invalid_response_is_a_bad_gateway() {
    let nonsense = listen(Router::new().fallback(|| async { "<html>" })).await;
    let page = send(
        storefront(Edition::V1, &nonsense, NO_SERVICE),
        Method::GET,
        "/ui",
        "",
    )
    .await;
    assert_eq!(page.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn posted_review_reaches_the_review_service() {
    let received = ReceivedRequests::default();
    let url = services(&received).await;
    let form = "author=Zo%C3%AB&rating=9&desc=Very+good";
    let posted = send(
        storefront(Edition::V1, &url, &url),
        Method::POST,
        "/ui/product/1/review",
        form,
    )
    .await;
    assert_eq!(posted.status, StatusCode::SEE_OTHER);
    assert_eq!(
        posted.headers[header::LOCATION],
        "/ui/product/1?review=posted#reviews"
    );
    assert_eq!(
        received.all(),
        [r#"{"author":"Zoë","desc":"Very good","rating":9}"#]
    );

    let back = send(
        storefront(Edition::V1, &url, &url),
        Method::GET,
        "/ui/product/1?review=posted",
        "",
    );
    back.await.assert_says("Your review is stored");
}

#[tokio::test]
async fn invalid_form_is_returned_with_its_values() {
    let received = ReceivedRequests::default();
    let url = services(&received).await;
    let form = "author=&rating=99&desc=%3Cb%3Emine";
    let page = send(
        storefront(Edition::V1, &url, &url),
        Method::POST,
        "/ui/product/1/review",
        form,
    )
    .await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    page.assert_says("Please tell us your name.");
    page.assert_says("Please choose a rating from 1 to 10.");
    page.assert_says("&lt;b&gt;mine</textarea>");
    page.assert_says("aria-describedby=\"author-mistake\"");
    assert!(received.all().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn review_that_cannot_be_stored_stays_in_the_form() {
    let url = services(&ReceivedRequests::default()).await;
    let form = "author=Zoe&rating=9&desc=Long+thoughts";
    let page = send(
        storefront(Edition::V1, &url, NO_SERVICE),
        Method::POST,
        "/ui/product/1/review",
        form,
    )
    .await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    page.assert_says("Long thoughts</textarea>");
    page.assert_says("value=\"Zoe\"");
}

#[tokio::test]
async fn form_is_limited() {
    let url = services(&ReceivedRequests::default()).await;
    let form = format!("desc={}", "x".repeat(shop_platform::BODY_BYTES_MAX));
    let router = storefront(Edition::V1, &url, &url);
    let page = send(router, Method::POST, "/ui/product/1/review", &form).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn review_of_a_missing_product_is_rejected() {
    let url = services(&ReceivedRequests::default()).await;
    let router = storefront(Edition::V1, &url, &url);
    let page = send(
        router,
        Method::POST,
        "/ui/product/99/review",
        "author=A&rating=9",
    )
    .await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn probes_succeed_without_other_services() {
    let router = storefront(Edition::V1, NO_SERVICE, NO_SERVICE);
    let live = send(router.clone(), Method::GET, "/ui/check/live", "").await;
    assert_eq!(live.text, "App is Live Storefront test");
    let ready = send(router, Method::GET, "/ui/check/ready", "").await;
    assert_eq!(ready.text, "App is Ready");
}
