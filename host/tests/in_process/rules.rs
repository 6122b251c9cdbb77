//! Rules that answer by themselves, so that no pod is called.

use super::testing::{Host, Service, manifests};

/// `app` behind a rule that precedes its route.
async fn ruled(image: &'static str, rule: &str) -> Host {
    let yaml = manifests(&[Service::new("app", image)]);
    Host::start(&yaml.replacen("  http:\n", &format!("  http:\n{rule}"), 1)).await
}

/// Waits until the source has counted `count` requests with these labels.
async fn counted(host: &Host, labels: &[&str], count: f64) {
    let labels = [labels, &["reporter=\"source\""]].concat();
    host.counted("istio_requests_total", &labels, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_is_sent_to_the_client() {
    let host = ruled(
        "echo",
        "    - name: moved
      match: [{uri: {exact: /old}}]
      redirect: {uri: /new, authority: shop.example.com, redirectCode: 308}
",
    )
    .await;
    let answer = host.get("/old?page=2").await;
    assert_eq!(answer.status, 308);
    assert_eq!(
        answer.header("location"),
        "http://shop.example.com/new?page=2"
    );
    let call = host
        .call("the redirect", |call| call["path"] == "/old?page=2")
        .await;
    assert_eq!(
        (&call["response_flags"], &call["attempts"]),
        (&"-".into(), &0.into())
    );
    counted(&host, &["response_code=\"308\""], 1.0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_response_calls_no_service() {
    let host = ruled(
        "echo",
        "    - match: [{uri: {exact: /closed}}]
      directResponse: {status: 503, body: {string: closed for the night}}
",
    )
    .await;
    let answer = host.get("/closed").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (503, "closed for the night")
    );
    let call = host
        .call("the response", |call| call["path"] == "/closed")
        .await;
    assert_eq!(call["upstream_host"], serde_json::Value::Null);
    assert_eq!(call["response_code_details"], "direct_response");
    counted(&host, &["response_code=\"503\""], 1.0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn injected_abort_is_flagged() {
    let host = ruled(
        "hello",
        "    - match: [{uri: {prefix: /app}}]
      rewrite: {uri: /}
      route: [{destination: {host: app}}]
      fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
",
    )
    .await;
    let answer = host.get("/app").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (418, "fault filter abort")
    );
    let call = host.call("the abort", |call| call["path"] == "/app").await;
    assert_eq!(
        (&call["response_flags"], &call["attempts"]),
        (&"FI".into(), &0.into())
    );
    let labels = ["response_code=\"418\"", "response_flags=\"FI\""];
    counted(&host, &labels, 1.0).await;
    host.stop().await;
}
