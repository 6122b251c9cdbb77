//! The service from a caller's point of view: requests to the router, and a real database
//! in a temporary folder.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::Edition;
use crate::ratings;
use crate::routes::{Service, routes};
use crate::store::Reviews;

const SLOW: Duration = Duration::from_millis(50);

struct Shop {
    folder: TempDir,
    edition: Edition,
}

impl Shop {
    fn new(edition: Edition) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            edition,
        }
    }

    /// An instance of the service, as in a new process.
    fn instance(&self) -> Router {
        let url = format!("sqlite:{}", self.folder.path().join("reviews.db").display());
        self.instance_on(url)
    }

    fn reviews(&self) -> Reviews {
        Reviews::at(format!(
            "sqlite:{}",
            self.folder.path().join("reviews.db").display()
        ))
    }

    fn instance_on(&self, url: String) -> Router {
        routes(Service {
            edition: self.edition,
            version: "Review test".to_owned(),
            reviews: Reviews::at(url),
            slow: SLOW,
        })
    }

    async fn get(&self, path: &str) -> Answer {
        send(
            self.instance(),
            Method::GET,
            &format!("/productreviewms{path}"),
            "",
        )
        .await
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        send(
            self.instance(),
            Method::POST,
            &format!("/productreviewms{path}"),
            body,
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

    fn ids(&self) -> Vec<i64> {
        self.json()
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["id"].as_i64().unwrap())
            .collect()
    }

    fn assert_problem(&self, status: u16, detail: &str) {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(
            self.headers[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let text = self.json()["detail"].as_str().unwrap().to_owned();
        assert!(
            text.contains(detail),
            "{text:?} does not contain {detail:?}"
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

#[tokio::test]
async fn reviews_are_a_plain_list_with_the_portals_names() {
    let answer = Shop::new(Edition::V1).get("/productreview/1").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    let first = &answer.json()[0];
    let fields: Vec<_> = first.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.len(), 5);
    for field in ["id", "author", "desc", "rating", "reviewDate"] {
        assert!(fields.contains(&field.to_owned()), "{field}");
    }
    assert_eq!(first["reviewDate"], "2025-01-15T09:00:00Z");
}

#[tokio::test]
async fn product_without_reviews_has_an_empty_list() {
    assert_eq!(
        Shop::new(Edition::V1).get("/productreview/4711").await.text,
        "[]"
    );
}

#[tokio::test]
async fn v1_lists_the_oldest_first_and_v2_the_newest() {
    assert_eq!(
        Shop::new(Edition::V1).get("/productreview/1").await.ids(),
        [1, 2, 3]
    );
    assert_eq!(
        Shop::new(Edition::V2).get("/productreview/1").await.ids(),
        [3, 2, 1]
    );
}

#[tokio::test]
async fn stored_review_is_found_by_the_next_instance() {
    let shop = Shop::new(Edition::V2);
    let body = r#"{"author":" Zoë ","desc":"<b>Good</b>","rating":10}"#;
    let stored = shop.post("/productreview/6", body).await;
    assert_eq!(stored.status, StatusCode::CREATED, "{}", stored.text);
    assert_eq!(stored.json()["author"], "Zoë");

    let found = shop.get("/productreview/6").await;
    assert_eq!(found.json(), json!([stored.json()]));
}

#[tokio::test]
async fn invalid_reviews_are_rejected_with_an_explanation() {
    let shop = Shop::new(Edition::V1);
    for (body, detail) in [
        ("", "body: EOF"),
        ("nonsense", "body: "),
        (r#"{"author":"A"}"#, "missing field `rating`"),
        (
            r#"{"author":"A","rating":0}"#,
            "rating: must be from 1 to 10, not 0",
        ),
        (
            r#"{"author":"A","rating":11}"#,
            "rating: must be from 1 to 10, not 11",
        ),
        (r#"{"author":"A","rating":"9"}"#, "invalid type: string"),
        (
            r#"{"author":"A","rating":9.5}"#,
            "invalid type: floating point",
        ),
        (r#"{"author":" ","rating":9}"#, "author: must not be blank"),
    ] {
        shop.post("/productreview/6", body)
            .await
            .assert_problem(400, detail);
    }
    let long = json!({"author": "A", "rating": 9, "desc": "x".repeat(2001)}).to_string();
    shop.post("/productreview/6", &long)
        .await
        .assert_problem(400, "desc: has 2001 characters");
    let huge = "x".repeat(shop_platform::BODY_BYTES_MAX + 1);
    shop.post("/productreview/6", &huge)
        .await
        .assert_problem(413, "65536");
    assert_eq!(shop.get("/productreview/6").await.text, "[]");
}

#[tokio::test]
async fn unknown_paths_and_ids_are_problem_documents() {
    let shop = Shop::new(Edition::V1);
    shop.get("/productreview/abc")
        .await
        .assert_problem(400, "not a positive whole number");
    shop.post("/productreview/0", "{}")
        .await
        .assert_problem(400, "not a positive whole number");
    shop.get("/nothing")
        .await
        .assert_problem(404, "/productreviewms/nothing");
    shop.post("/check/live", "")
        .await
        .assert_problem(405, "POST");
}

#[tokio::test]
async fn v2_summarizes_reviews() {
    let shop = Shop::new(Edition::V2);
    let summary = shop.get("/productreview/summary/1").await.json();
    assert_eq!(summary, json!({"productId": 1, "count": 3, "average": 9.0}));
    let none = shop.get("/productreview/summary/4711").await.json();
    assert_eq!(
        none,
        json!({"productId": 4711, "count": 0, "average": null})
    );
    Shop::new(Edition::V1)
        .get("/productreview/summary/1")
        .await
        .assert_problem(404, "summary");
}

#[tokio::test]
async fn ratings_are_those_of_the_jobs_last_run() {
    let shop = Shop::new(Edition::V1);
    let ratings = shop.get("/productreview/ratings").await.json();
    assert_eq!(ratings, json!({"computedAt": null, "ratings": []}));

    assert_eq!(ratings::compute(&shop.reviews()).await.unwrap(), 10);
    let ratings = shop.get("/productreview/ratings").await.json();
    assert!(ratings["computedAt"].is_string(), "{ratings}");
    let of = |ratings: &Value, product: usize| ratings["ratings"][product - 1].clone();
    assert_eq!(
        of(&ratings, 2),
        json!({"productId": 2, "count": 2, "average": 8.0})
    );

    let body = r#"{"author":"Zoë","rating":1}"#;
    shop.post("/productreview/2", body).await;
    let before = shop.get("/productreview/ratings").await.json();
    assert_eq!(before, ratings, "the job has not run again");
    ratings::compute(&shop.reviews()).await.unwrap();
    let after = shop.get("/productreview/ratings").await.json();
    assert_eq!(
        of(&after, 2),
        json!({"productId": 2, "count": 3, "average": 5.67})
    );
    let newer = Shop {
        edition: Edition::V2,
        ..shop
    };
    assert_eq!(newer.get("/productreview/ratings").await.json(), after);
}

#[tokio::test]
async fn timeout_path_responds_late() {
    let shop = Shop::new(Edition::V1);
    let start = Instant::now();
    assert_eq!(shop.get("/productreview/timeout/1").await.ids().len(), 3);
    assert!(start.elapsed() >= SLOW);
}

#[tokio::test]
async fn probes_distinguish_live_and_ready() {
    let shop = Shop::new(Edition::V1);
    assert_eq!(
        shop.get("/check/live").await.text,
        "App is Live Review test"
    );
    assert_eq!(shop.get("/check/ready").await.text, "App is Ready");
    let gone = shop.instance_on("sqlite:/no/such/folder/reviews.db".to_owned());
    let ready = send(gone, Method::GET, "/productreviewms/check/ready", "").await;
    ready.assert_problem(503, "database");
}
