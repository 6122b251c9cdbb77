//! Services that are slow, fail, or get too many requests; and injected faults.

use std::time::{Duration, Instant};

use super::{ISOLATION, Shop, destination_rule, flags, with_rules};
use crate::support::{Answer, Galleria, Service, eventually};

/// A rule that routes `/app` to the service `app` and removes the prefix.
fn rule(fields: &str) -> String {
    format!(
        "    - match: [{{uri: {{prefix: /app}}}}]
      rewrite: {{uri: /}}
      route: [{{destination: {{host: app}}}}]
      {fields}
"
    )
}

fn app(image: &'static str, fields: &str) -> Shop {
    let service = Service::new("app", image).annotation(ISOLATION, "instance");
    Shop::start(&with_rules(&[service], &rule(fields), &[]))
}

#[test]
fn injected_delay_is_flagged() {
    let shop = app(
        "hello",
        "fault: {delay: {fixedDelay: 300ms, percentage: {value: 100}}}",
    );
    let start = Instant::now();
    assert_eq!(shop.host.get("/app").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(flags(&shop.calls("/app", 1)[0]), "DI");
    shop.counted(&["response_code=\"200\"", "response_flags=\"DI\""], 1.0);
}

#[test]
fn fault_in_the_older_syntax_delays_and_then_aborts() {
    let shop = app(
        "hello",
        "fault: {delay: {fixedDelay: 100ms, percent: 100}, abort: {httpStatus: 503, percent: 100}}",
    );
    let start = Instant::now();
    assert_eq!(shop.host.get("/app").status, 503);
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(flags(&shop.calls("/app", 1)[0]), "DI,FI");
}

#[test]
fn fault_with_zero_percent_does_nothing() {
    let shop = app(
        "hello",
        "fault: {abort: {httpStatus: 503, percentage: {value: 0}}}",
    );
    for _ in 0..10 {
        assert_eq!(shop.host.get("/app").status, 200);
    }
    shop.counted(&["response_flags=\"-\""], 10.0);
}

#[test]
fn slow_service_times_out_after_one_second() {
    let shop = app("slow", "timeout: 1s");
    assert_eq!(shop.host.get("/app?ms=1").status, 200);
    let start = Instant::now();
    let answer = shop.host.get("/app?ms=20000");
    let took = start.elapsed();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (504, "upstream request timeout")
    );
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(5)).contains(&took),
        "it took {took:?}"
    );
    assert_eq!(flags(&shop.calls("/app?ms=20000", 1)[0]), "UT");
    shop.counted(&["response_code=\"504\"", "response_flags=\"UT\""], 1.0);
}

#[test]
fn retry_on_503_hides_two_failures_and_not_three() {
    let shop = app("status", "retries: {attempts: 2, retryOn: '503'}");
    let answer = shop.host.get_with("/app/twice", &[("x-fail-n", "2")]);
    assert_eq!(answer.status, 200);
    let call = &shop.calls("/app/twice", 1)[0];
    assert_eq!((flags(call), &call["attempts"]), ("-", &3.into()));
    // Three such requests came before, so of a hundred failures the next ones are still
    // left.
    let answer = shop.host.get_with("/app/always", &[("x-fail-n", "100")]);
    assert_eq!(answer.status, 503);
    let call = &shop.calls("/app/always", 1)[0];
    assert_eq!((flags(call), &call["attempts"]), ("URX", &3.into()));
    shop.counted(&["response_code=\"503\"", "response_flags=\"URX\""], 1.0);
    shop.counted(&["response_code=\"200\"", "response_flags=\"-\""], 1.0);
}

#[test]
fn first_failure_is_returned_without_retries() {
    let shop = app("status", "retries: {attempts: 0}");
    let answer = shop.host.get_with("/app", &[("x-fail-n", "1")]);
    assert_eq!(answer.status, 503);
    assert_eq!(shop.calls("/app", 1)[0]["attempts"], 1);
}

/// Sends six requests at once, more than `pool` allows: `fine` of them are answered and
/// the others are refused immediately. Afterwards requests succeed again.
fn breaker_opens_and_closes(pool: &str, fine: usize) {
    let breaker = destination_rule("app", &format!("trafficPolicy:\n  connectionPool: {pool}"));
    let service = Service::new("app", "slow").annotation(ISOLATION, "instance");
    let shop = Shop::start(&with_rules(
        &[service],
        &rule("retries: {attempts: 0}"),
        &[breaker],
    ));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asking = [(); 6].map(|()| scope.spawn(|| shop.host.get("/app?ms=1500")));
        asking
            .into_iter()
            .map(|asked| asked.join().expect("an answer"))
            .collect()
    });
    let refused = answers.iter().filter(|answer| answer.status != 200);
    let refused: Vec<_> = refused.collect();
    assert_eq!(answers.len() - refused.len(), fine, "{answers:?}");
    for answer in &refused {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("x-envoy-overloaded"), "true");
        assert!(answer.body.contains("overflow"), "{}", answer.body);
    }
    let calls = shop.calls("/app?ms=1500", 6);
    let overflowed = calls.iter().filter(|call| flags(call) == "UO").count();
    assert_eq!(overflowed, refused.len());
    shop.counted(
        &["response_code=\"503\"", "response_flags=\"UO\""],
        refused.len() as f64,
    );
    for _ in 0..3 {
        assert_eq!(shop.host.get("/app?ms=1").status, 200);
    }
}

#[test]
fn circuit_breaker_opens_above_max_requests_and_closes_afterwards() {
    breaker_opens_and_closes("{http: {http2MaxRequests: 1}}", 1);
}

#[test]
fn circuit_breaker_queues_one_request_and_opens_above_it() {
    breaker_opens_and_closes(
        "{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}",
        2,
    );
}

#[test]
fn outlier_is_ejected_and_returns() {
    let ejection = destination_rule(
        "app",
        "trafficPolicy:
  loadBalancer: {simple: ROUND_ROBIN}
  outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 100}",
    );
    let services = [
        Service::new("app", "hello"),
        Service::version("app", "v2", "status"),
    ];
    let shop = Shop::start(&with_rules(
        &services,
        &rule("retries: {attempts: 0}"),
        &[ejection],
    ));
    let fails = || shop.host.get("/app?code=500").status == 500;
    for round in 1..=2 {
        for _ in 0..2 {
            eventually("the bad pod gets a request", || fails().then_some(()));
        }
        let ejections = || shop.host.stderr().matches("\"ejected\"").count();
        eventually("the bad pod is ejected", || {
            (ejections() >= round).then_some(())
        });
        for _ in 0..20 {
            assert!(!fails(), "the ejected pod got a request");
        }
    }
    let bad = "destination_version=\"v2\"";
    shop.counted(&[bad, "response_code=\"500\""], 4.0);
    shop.counted(&[bad, "response_code=\"200\""], 0.0);
    let calls = shop.host.calls();
    assert!(calls.iter().all(|call| flags(call) == "-"));
}

#[test]
fn aggregator_responds_although_one_source_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/shop");
    for file in std::fs::read_dir(shop).expect("the shop") {
        let file = file.expect("a file").path();
        let name = file.file_name().expect("a name");
        std::fs::copy(&file, folder.path().join(name)).expect("a copy");
    }
    std::fs::write(
        folder.path().join("99-fault.yaml"),
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews-fail, namespace: shoppingportal}
spec:
  hosts: [productreviewservice]
  http:
    - fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
      route: [{destination: {host: productreviewservice}}]
",
    )
    .expect("a file");
    let host = Galleria::run(folder.path())
        .components(crate::support::shop_components())
        .start();
    let answer = host.get("/productms/product/catalogue/1");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let product = &answer.json()["response"];
    assert_eq!(product["name"], "Apple", "{product}");
    assert!(product["reviews"].is_null(), "{product}");
    let failed = host.call("the call for reviews", |call| {
        call["source_workload"] == "shoppingportal/productms-v1"
    });
    assert_eq!(
        (flags(&failed), &failed["response_code"]),
        ("FI", &503.into())
    );
    let counted = eventually("the failure is counted", || {
        let labels = [
            "reporter=\"source\"",
            "source_workload=\"productms-v1\"",
            "response_flags=\"FI\"",
        ];
        Some(host.metric("istio_requests_total", &labels)).filter(|count| *count > 0.0)
    });
    assert_eq!(counted, 1.0);
}
