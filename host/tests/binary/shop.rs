//! The shop from a user's point of view.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::json;

use crate::support::{Galleria, Host, eventually};

/// One shop for the read-only tests; it stops when the last of them ends.
fn shop() -> Arc<Host> {
    static SHOP: Mutex<Weak<Host>> = Mutex::new(Weak::new());
    let mut shop = SHOP.lock().unwrap_or_else(PoisonError::into_inner);
    shop.upgrade().unwrap_or_else(|| {
        let host = Arc::new(Galleria::shop().start());
        *shop = Arc::downgrade(&host);
        host
    })
}

const FIREFOX: (&str, &str) = (
    "user-agent",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
);
const CHROME: (&str, &str) = ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0");

#[test]
fn start_lists_only_a_page_for_each_service() {
    let shop = shop();
    let log = eventually("the host logs that it is ready", || {
        Some(shop.stderr()).filter(|log| log.contains("\nready in "))
    });
    let urls = log.lines().filter_map(|line| line.strip_prefix("http://"));
    let paths: Vec<_> = urls
        .filter_map(|url| Some(url.split_once('/')?.1))
        .collect();
    assert_eq!(paths, ["ui", "productms", "productreviewms", "metrics"]);
}

#[test]
fn storefront_shows_the_catalogue() {
    let shop = shop();
    let page = shop.get("/ui");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{:?}",
        page.headers
    );
    assert!(page.body.contains("Apple"), "{}", page.body);
}

#[test]
fn catalogue_has_the_envelope_and_exact_prices() {
    let shop = shop();
    let answer = shop.get("/productms/product/catalogue");
    assert_eq!(answer.status, 200);
    let envelope = answer.json();
    assert_eq!(envelope["version"], "Product v1");
    assert!(
        envelope["responsedate"]
            .as_u64()
            .is_some_and(|date| date > 1_700_000_000_000)
    );
    let first = &envelope["response"][0];
    assert_eq!(first["productId"], 1);
    assert_eq!(first["name"], "Apple");
    assert!(answer.body.contains("\"price\":90000.0"), "{}", answer.body);
}

#[test]
fn product_page_gathers_reviews_from_the_review_service() {
    let shop = shop();
    let envelope = shop.get("/productms/product/catalogue/1").json();
    assert_eq!(envelope["version"], "Product v1 > Product Review");
    let reviews = envelope["response"]["reviews"].as_array().expect("reviews");
    assert!(!reviews.is_empty());
    let review = &reviews[0];
    for field in ["id", "author", "desc", "rating", "reviewDate"] {
        assert!(!review[field].is_null(), "no {field} in {review}");
    }
    let page = shop.get("/ui/product/1");
    assert_eq!(page.status, 200);
    assert!(
        page.body
            .contains(review["author"].as_str().expect("an author")),
        "{}",
        page.body
    );
}

#[test]
fn firefox_gets_the_canary_of_the_storefront_and_others_do_not() {
    let shop = shop();
    assert!(
        shop.get_with("/ui", &[FIREFOX])
            .body
            .contains("Storefront v2")
    );
    assert!(
        shop.get_with("/ui", &[CHROME])
            .body
            .contains("Storefront v1")
    );
    assert!(shop.get("/ui").body.contains("Storefront v1"));
}

#[test]
fn beta_user_gets_the_canary_of_the_product_service_and_others_do_not() {
    let shop = shop();
    let version = |headers: &[(&str, &str)]| {
        shop.get_with("/productms/product/version", headers).json()["version"].clone()
    };
    assert_eq!(version(&[("end-user", "metamagic")]), "Product v2");
    assert_eq!(version(&[("end-user", "somebody")]), "Product v1");
    assert_eq!(version(&[]), "Product v1");
}

#[test]
fn canary_sorts_and_searches_the_catalogue() {
    let shop = shop();
    let canary = [("end-user", "metamagic")];
    let sorted = shop
        .get_with("/productms/product/catalogue?sort=price", &canary)
        .json();
    let prices: Vec<f64> = sorted["response"]
        .as_array()
        .expect("products")
        .iter()
        .map(|product| product["price"].as_f64().expect("a price"))
        .collect();
    assert!(prices.is_sorted(), "{prices:?}");
    let unknown = shop.get_with("/productms/product/catalogue?sort=colour", &canary);
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.header("content-type"), "application/problem+json");
}

#[test]
fn errors_are_problem_documents() {
    let shop = shop();
    for (path, status) in [
        ("/productms/product/catalogue/4711", 404),
        ("/productms/product/catalogue/apple", 400),
        ("/productms/no/such/page", 404),
    ] {
        let answer = shop.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(
            answer.header("content-type"),
            "application/problem+json",
            "{path}"
        );
    }
    let bad = shop.post(
        "/productreviewms/productreview/1",
        &json!({"author": "x", "desc": "y", "rating": 11}),
    );
    assert_eq!(bad.status, 400, "{}", bad.body);
}

#[test]
fn health_pages_of_the_services_respond() {
    let shop = shop();
    for service in ["/ui", "/productms", "/productreviewms"] {
        let live = shop.get(&format!("{service}/check/live"));
        assert!(
            live.body.starts_with("App is Live"),
            "{service}: {}",
            live.body
        );
        let ready = shop.get(&format!("{service}/check/ready"));
        assert_eq!(ready.body.trim(), "App is Ready", "{service}");
    }
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let data = tempfile::tempdir().expect("a folder");
    let mut host = Galleria::shop().data(data.path()).start();
    let product = json!({"name": "Lamp", "category": "1", "description": "A lamp", "price": 19.99});
    let stored = host.post("/productms/product/", &product);
    assert_eq!(stored.status, 201, "{}", stored.body);
    let id = stored.json()["response"]["productId"]
        .as_u64()
        .expect("an id");
    let review = json!({"author": "Kim", "desc": "Bright enough", "rating": 9});
    let reviewed = host.post(&format!("/productreviewms/productreview/{id}"), &review);
    assert_eq!(reviewed.status, 201, "{}", reviewed.body);
    host.kill();

    let host = Galleria::shop().data(data.path()).start();
    let answer = host.get(&format!("/productms/product/catalogue/{id}"));
    let found = &answer.json()["response"];
    assert_eq!(found["name"], "Lamp");
    assert!(answer.body.contains("\"price\":19.99"), "{}", answer.body);
    assert_eq!(found["reviews"][0]["author"], "Kim");
    assert_eq!(found["reviews"][0]["rating"], 9);
}
