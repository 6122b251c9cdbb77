//! Telemetry for operators: the access log, the lines of guests, and traces.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::testing::{Host, Service, manifests};

async fn start(services: &[Service]) -> Host {
    Host::start(&manifests(services)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_of_the_client_is_continued() {
    let host = start(&[Service::new("echo", "echo")]).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", parent), ("tracestate", "shop=1")];
    let answer = host.get_with("/echo/", &headers).await;
    let seen = answer
        .body
        .lines()
        .find_map(|line| line.contains("traceparent").then(|| line.to_owned()))
        .expect("the guest sees a traceparent");
    assert!(seen.contains("4bf92f3577b34da6a3ce929d0e0e4736"), "{seen}");
    assert!(
        !seen.contains("00f067aa0ba902b7"),
        "the guest has its own span: {seen}"
    );
    assert!(answer.body.contains("shop=1"));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undeclared_destination_is_refused_with_a_hint() {
    let host = start(&[Service::new("caller", "call")]).await;
    let answer = host.get("/caller/?url=http://api.example.com/orders").await;
    assert_eq!(answer.header("x-upstream-status"), "502", "{answer:?}");
    let call = host
        .call("the refused call", |call| {
            call["authority"] == "api.example.com"
        })
        .await;
    assert_eq!(call["response_code"], 502);
    assert!(
        call["response_code_details"]
            .as_str()
            .is_some_and(|details| details.contains("ServiceEntry")),
        "{call}"
    );
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_is_reachable_by_every_form_of_its_name() {
    let host = start(&[
        Service::new("caller", "call"),
        Service::new("good", "hello"),
    ])
    .await;
    for name in [
        "good",
        "good.test",
        "good.test.svc",
        "good.test.svc.cluster.local",
        "GOOD",
        "good:80",
    ] {
        let answer = host.get(&format!("/caller/?url=http://{name}/")).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello\n"),
            "{name}"
        );
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_without_a_matching_rule_is_404_nr() {
    let host = start(&[Service::new("good", "hello")]).await;
    assert_eq!(host.get("/nowhere").await.status, 404);
    let call = host
        .call("its line", |call| call["path"] == "/nowhere")
        .await;
    assert_eq!(call["response_flags"], "NR");
    let labels = ["response_flags=\"NR\""];
    host.counted("istio_requests_total", &labels, 1.0).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_guest_name_its_workload() {
    let host = start(&[Service::new("talker", "stdio").env("STDIO_VALUE", "words")]).await;
    assert_eq!(host.get("/talker/").await.status, 200);
    let line = host
        .log()
        .line("the guest's line", |line| {
            line.to_string().contains("out: STDIO_VALUE=words")
        })
        .await;
    assert_eq!(
        (&line["namespace"], &line["workload"]),
        (&"test".into(), &"talker".into())
    );
    assert_eq!(line["stream"], "stdout");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_log_lines_have_level_and_context_and_are_bounded() {
    let host = start(&[Service::new("talker", "logger")]).await;
    assert_eq!(host.get("/talker/hello").await.status, 200);
    let logged = async |level: &'static str, length: usize| {
        let is_it = |line: &Value| {
            let message = line["message"].as_str();
            line["level"] == level && message.is_some_and(|it| it.len() == length)
        };
        host.log().line(level, is_it).await
    };
    let length = "/hello".len();
    for level in ["trace", "debug", "info", "warn", "error", "critical"] {
        let line = logged(level, length).await;
        assert_eq!(
            (&line["stream"], &line["context"]),
            (&"log".into(), &"test".into())
        );
        assert_eq!(line["workload"], "talker");
        assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
    }
    let long = logged("info", 16 << 10).await;
    assert_eq!(long["context"].as_str().map(str::len), Some(256));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_not_utf_8_cause_no_failure() {
    let host = start(&[Service::new("good", "hello")]).await;
    let mut connection = host.connect(80).await;
    let names = ["user-agent", "traceparent", "tracestate", "baggage", "b3"];
    let mut request = b"GET /good/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n".to_vec();
    for name in names {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": \xff\xfe\x80\r\n");
    }
    request.extend_from_slice(b"\r\n");
    connection.write_all(&request).await.expect("sent");
    let mut answer = Vec::new();
    let read = connection.read_to_end(&mut answer).await;
    read.expect("an answer");
    drop(connection);
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
    let line = host.call("the line", |call| call["path"] == "/good/").await;
    assert_eq!(line["user_agent"], "\u{fffd}\u{fffd}\u{fffd}");
    assert_eq!(line["trace_id"].as_str().map(str::len), Some(32));
    host.stop().await;
}
