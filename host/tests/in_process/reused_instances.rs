//! A reused instance keeps nothing of the requests that it has served.

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::testing::{Answer, Host, Service, eventually, manifests};

/// A service with one instance.
fn single(name: &'static str, image: &'static str) -> Service {
    Service::new(name, image)
        .annotation("galleria.dev/isolation", "instance")
        .annotation("galleria.dev/max-instances", "1")
}

async fn start(services: &[Service]) -> Host {
    let arguments = ["--access-log=off", "--request-timeout=5s"];
    Host::start_with(&manifests(services), &arguments).await
}

/// Requests `path` `times` times, four requests at once.
async fn ask(host: &Host, times: usize, path: &str, is_good: impl Fn(&Answer) -> bool) {
    let is_good = &is_good;
    let clients = (0..4).map(async |_| {
        let mut client = host.client(80).await;
        for _ in 0..times / 4 {
            let answer = client.get(path).await;
            let said = (answer.status, &answer.body);
            assert!(is_good(&answer), "{path}: {said:?}");
        }
    });
    join_all(clients).await;
}

fn is_fine(answer: &Answer) -> bool {
    answer.status == 200
}

/// How many instances of `workload` were retired for `reason`.
async fn retired(host: &Host, workload: &str, reason: &str) -> f64 {
    let labels = [
        format!("workload=\"{workload}\""),
        format!("reason=\"{reason}\""),
    ];
    host.metric(
        "galleria_instances_retired_total",
        &labels.each_ref().map(String::as_str),
    )
    .await
}

async fn assert_no_instance_has_grown(host: &Host, workloads: &[&str]) {
    for workload in workloads {
        for reason in ["grown", "failed", "spent"] {
            let count = retired(host, workload, reason).await;
            assert_eq!(count, 0.0, "{workload}: {reason}");
        }
    }
}

/// An instance keeps at most 1,000 handles: if a call left one behind, the instance would
/// be retired.
#[tokio::test(flavor = "multi_thread")]
async fn calling_instance_keeps_nothing_of_thirty_thousand_calls() {
    let host = start(&[
        single("post", "post"),
        Service::new("modern", "post-p3"),
        single("echo", "echo"),
    ])
    .await;
    let fine = |answer: &Answer| answer.status == 200 && answer.body.ends_with("xxx");
    ask(
        &host,
        300,
        "/post/?url=http://echo/&bytes=3&times=100",
        fine,
    )
    .await;
    ask(
        &host,
        100,
        "/modern/?url=http://echo/&bytes=3&times=100",
        fine,
    )
    .await;
    assert_no_instance_has_grown(&host, &["post", "modern", "echo"]).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_instance_keeps_nothing_of_any_kind_of_request() {
    let host = start(&[
        single("plain", "hello"),
        single("large", "large-body"),
        single("echo", "echo"),
        single("sql", "sql"),
        Service::new("modern", "hello-p3"),
        Service::new("passing", "call-p3"),
        single("passer", "call"),
    ])
    .await;
    ask(&host, 2_000, "/plain/", is_fine).await;
    ask(&host, 2_000, "/modern/", is_fine).await;
    ask(&host, 1_200, "/large/?mib=0", is_fine).await;
    ask(&host, 1_200, "/echo/", is_fine).await;
    ask(&host, 1_200, "/passer/?url=http://plain/", is_fine).await;
    ask(&host, 1_200, "/passing/?url=http://plain/", is_fine).await;
    let query = "/sql/?url=sqlite::memory:&q=SELECT%201";
    ask(&host, 1_200, query, |answer| {
        answer.status == 200 || answer.status == 500
    })
    .await;
    let all = [
        "plain", "large", "echo", "sql", "modern", "passing", "passer",
    ];
    assert_no_instance_has_grown(&host, &all).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instance_whose_client_disconnects_is_discarded() {
    let host = start(&[
        single("large", "large-body"),
        Service::new("modern", "call-p3"),
        single("hello", "hello"),
    ])
    .await;
    for path in ["/large/?mib=64", "/modern/?url=http://large/?mib=64"] {
        for _ in 0..50 {
            let mut client = host.connect(80).await;
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            client.write_all(request.as_bytes()).await.expect("sent");
            let beginning = client.read_exact(&mut [0; 4096]).await;
            beginning.expect("a beginning");
        }
    }
    assert_eq!(host.get("/large/?mib=1").await.body.len(), 1 << 20);
    let left = async |workload: &str| {
        let workload = format!("workload=\"{workload}\"");
        host.metric("galleria_instances", &[&workload]).await
    };
    eventually("one instance of each is left", async || {
        (left("large").await <= 1.0 && left("modern").await <= 1.0).then_some(())
    })
    .await;
    let answer = host.get("/modern/?url=http://hello/").await;
    assert_eq!(answer.body, "hello\n");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaking_instance_is_replaced_between_requests_without_a_failure() {
    let host = start(&[
        single("leak", "leak"),
        Service::new("modern", "hello-p3"),
        single("hoard", "allocate").memory("32Mi"),
    ])
    .await;
    ask(&host, 300, "/leak/?n=10", is_fine).await;
    assert!(retired(&host, "leak", "grown").await >= 2.0);
    ask(&host, 400, "/modern/leak?n=50", is_fine).await;
    eventually("the leaking instances of WASI 0.3 are gone", async || {
        (retired(&host, "modern", "grown").await >= 2.0).then_some(())
    })
    .await;
    ask(&host, 60, "/hoard/?mib=3&keep", is_fine).await;
    assert!(retired(&host, "hoard", "grown").await >= 5.0);
    for workload in ["leak", "modern", "hoard"] {
        let failed = retired(&host, workload, "failed").await;
        assert_eq!(failed, 0.0, "{workload}");
    }
    host.stop().await;
}
