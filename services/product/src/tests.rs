//! The service from a caller's point of view: requests to the router, a real database in
//! a temporary folder, and a stand-in for the review service.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use axum::routing::get;
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

use crate::Edition;
use crate::reviews::Reviews;
use crate::routes::{Service, routes};
use crate::store::Products;

/// Long enough for a busy machine, short enough to wait for.
const PATIENCE: Duration = Duration::from_millis(400);

/// A shop without a review service.
struct Shop {
    folder: TempDir,
    edition: Edition,
    reviews_url: String,
}

impl Shop {
    fn new(edition: Edition) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Port 9 is discard: nothing listens there on loopback.
        Self {
            folder,
            edition,
            reviews_url: "http://127.0.0.1:9".to_owned(),
        }
    }

    /// Starts `reviews` as the review service.
    async fn with_reviews(mut self, reviews: Router) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.reviews_url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, reviews).await });
        self
    }

    /// An instance of the service, as in a new process.
    fn instance(&self) -> Router {
        let url = format!(
            "sqlite:{}",
            self.folder.path().join("products.db").display()
        );
        let reviews = Reviews::at(&self.reviews_url, PATIENCE);
        routes(Service::new(
            self.edition,
            "Product test".to_owned(),
            Products::at(url),
            reviews,
        ))
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.instance(), Method::GET, path, String::new()).await
    }

    async fn post(&self, body: &str) -> Answer {
        send(
            self.instance(),
            Method::POST,
            "/productms/product/",
            body.to_owned(),
        )
        .await
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The names of the products in a catalogue.
    fn names(&self) -> Vec<String> {
        let json = self.json();
        let products = json["response"].as_array().unwrap().iter();
        products
            .map(|product| product["name"].as_str().unwrap().to_owned())
            .collect()
    }

    fn assert_problem(&self, status: u16, detail: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status);
        let text = problem["detail"].as_str().unwrap();
        assert!(
            text.contains(detail),
            "{text:?} does not contain {detail:?}"
        );
    }
}

async fn send(router: Router, method: Method, path: &str, body: String) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body))
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

#[tokio::test]
async fn catalogue_is_an_envelope_with_exact_prices() {
    let answer = Shop::new(Edition::V1)
        .get("/productms/product/catalogue")
        .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    assert!(
        answer
            .text
            .starts_with(r#"{"version":"Product test","responsedate":"#)
    );
    assert!(
        answer
            .text
            .contains(r#""response":[{"productId":1,"category":"2","name":"Apple","#)
    );
    assert!(answer.text.contains(r#""price":90000.0}"#));
    assert!(answer.json()["responsedate"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(answer.names().len(), 12);
}

#[tokio::test]
async fn product_includes_its_reviews_unchanged() {
    let reviews = r#"[{"id":7,"author":"Asha","desc":"Good.","rating":9,"reviewDate":"x"}]"#;
    let stub = Router::new().route(
        "/productreviewms/productreview/1",
        get(move || async move { reviews }),
    );
    let shop = Shop::new(Edition::V1).with_reviews(stub).await;

    let answer = shop.get("/productms/product/catalogue/1").await;

    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["version"], "Product test > Product Review");
    assert_eq!(answer.json()["response"]["productId"], 1);
    assert!(
        answer
            .text
            .ends_with(&format!(r#""price":90000.0,"reviews":{reviews}}}}}"#))
    );
}

#[tokio::test]
async fn product_is_shown_without_reviews_if_the_review_service_fails() {
    let path = "/productreviewms/productreview/{id}";
    let broken = get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let garbled = get(|| async { "[{" });
    let another_shape = get(|| async { r#"{"reviews":[]}"# });
    let silent = get(std::future::pending::<()>);
    let mut shops = vec![Shop::new(Edition::V1)];
    for stub in [broken, garbled, another_shape, silent] {
        shops.push(
            Shop::new(Edition::V1)
                .with_reviews(Router::new().route(path, stub))
                .await,
        );
    }
    for shop in shops {
        let answer = shop.get("/productms/product/catalogue/1").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["version"], "Product test");
        assert_eq!(answer.json()["response"]["reviews"], Value::Null);
        assert_eq!(answer.json()["response"]["name"], "Apple");
    }
}

#[tokio::test]
async fn stored_product_is_found_by_the_next_instance() {
    let shop = Shop::new(Edition::V1);
    let answer = shop
        .post(r#"{"productId":1,"category":"2","name":" Café <b>","description":"","price":0.29}"#)
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json()["response"]["productId"], 13);
    let location = answer.headers[header::LOCATION]
        .to_str()
        .unwrap()
        .to_owned();

    let found = shop.get(&location).await;
    assert_eq!(found.json()["response"]["name"], "Café <b>");
    assert!(found.text.contains(r#""price":0.29"#));
}

#[tokio::test]
async fn invalid_products_are_rejected_with_an_explanation() {
    let shop = Shop::new(Edition::V1);
    let long = format!(
        r#"{{"category":"2","name":"{}","price":1}}"#,
        "x".repeat(121)
    );
    for (body, detail) in [
        ("", "body: EOF"),
        ("{", "body: EOF"),
        ("[]", "body: "),
        (r#"{"name":"A","price":1}"#, "missing field `category`"),
        (
            r#"{"category":"2","name":" ","price":1}"#,
            "name: must not be blank",
        ),
        (
            r#"{"category":2,"name":"A","price":1}"#,
            "invalid type: integer `2`",
        ),
        (
            r#"{"category":"2","name":"A","price":"1"}"#,
            "a plain number",
        ),
        (
            r#"{"category":"2","name":"A","price":-1}"#,
            "a plain number",
        ),
        (
            r#"{"category":"2","name":"A","price":1.005}"#,
            "more than two decimal places",
        ),
        (&long, "name: has 121 characters"),
    ] {
        shop.post(body).await.assert_problem(400, detail);
    }
    assert_eq!(
        shop.get("/productms/product/catalogue").await.names().len(),
        12
    );
}

#[tokio::test]
async fn request_body_is_limited() {
    let body = format!(
        r#"{{"name":"{}"}}"#,
        "x".repeat(shop_platform::BODY_BYTES_MAX)
    );
    Shop::new(Edition::V1)
        .post(&body)
        .await
        .assert_problem(413, "more than 65536 bytes");
}

#[tokio::test]
async fn unknown_paths_and_ids_are_problem_documents() {
    let shop = Shop::new(Edition::V1);
    shop.get("/productms/product/catalogue/99")
        .await
        .assert_problem(404, "no product 99");
    shop.get("/productms/nothing")
        .await
        .assert_problem(404, "/productms/nothing");
    for id in ["abc", "0", "-1", "1.5", "99999999999999999999"] {
        let path = format!("/productms/product/catalogue/{id}");
        shop.get(&path)
            .await
            .assert_problem(400, "not a positive whole number");
    }
    let deleted = send(
        shop.instance(),
        Method::DELETE,
        "/productms/product/catalogue",
        String::new(),
    )
    .await;
    deleted.assert_problem(405, "DELETE");
}

#[tokio::test]
async fn v2_sorts_and_searches() {
    let shop = Shop::new(Edition::V2);
    let by_price = shop
        .get("/productms/product/catalogue?sort=price")
        .await
        .names();
    assert_eq!(
        (by_price[0].as_str(), by_price[11].as_str()),
        ("Lumen", "Parallax 50")
    );
    let by_price_descending = shop
        .get("/productms/product/catalogue?sort=-price")
        .await
        .names();
    assert_eq!(by_price_descending[0], "Parallax 50");
    let by_name = shop
        .get("/productms/product/catalogue?sort=name")
        .await
        .names();
    assert_eq!(by_name[0], "Aperture 35");
    assert!(by_name.is_sorted());

    let found = shop
        .get("/productms/product/catalogue?search=LAPTOP&sort=-name")
        .await
        .names();
    assert_eq!(found, ["Apple"]);
    let nothing = shop
        .get("/productms/product/catalogue?search=%25")
        .await
        .names();
    assert!(
        nothing.is_empty(),
        "a percent sign is not a wildcard: {nothing:?}"
    );
    shop.get("/productms/product/catalogue?sort=colour")
        .await
        .assert_problem(400, "colour");
}

#[tokio::test]
async fn v1_ignores_sorting() {
    let names = Shop::new(Edition::V1)
        .get("/productms/product/catalogue?sort=colour")
        .await
        .names();
    assert_eq!(names[0], "Apple");
}

#[tokio::test]
async fn probes_distinguish_live_and_ready() {
    let shop = Shop::new(Edition::V1);
    assert_eq!(
        shop.get("/productms/check/live").await.text,
        "App is Live Product test"
    );
    assert_eq!(
        shop.get("/productms/check/ready").await.text,
        "App is Ready"
    );

    let gone = Products::at("sqlite:/no/such/folder/products.db".to_owned());
    let reviews = Reviews::at(&shop.reviews_url, PATIENCE);
    let service = Service::new(Edition::V1, "Product test".to_owned(), gone, reviews);
    let router = routes(service);
    let live = send(
        router.clone(),
        Method::GET,
        "/productms/check/live",
        String::new(),
    )
    .await;
    assert_eq!(live.status, StatusCode::OK);
    let ready = send(router, Method::GET, "/productms/check/ready", String::new()).await;
    ready.assert_problem(503, "database");
}

#[tokio::test]
async fn concurrently_started_instances_create_one_catalogue() {
    let shop = Shop::new(Edition::V1);
    let instances: Vec<_> = (0..8)
        .map(|_| {
            let path = "/productms/product/catalogue";
            tokio::spawn(send(shop.instance(), Method::GET, path, String::new()))
        })
        .collect();
    for instance in instances {
        let answer = instance.await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.names().len(), 12);
    }
}
