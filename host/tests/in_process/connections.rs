//! Connections of the listener, and the end of the host.

use serde_json::Value;

use super::testing::{Host, Service, manifests};

fn path(call: &Value) -> &str {
    call["path"].as_str().expect("a path")
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_one_http2_connection_are_served_at_the_same_time() {
    let service = Service::new("slow", "slow").annotation("galleria.dev/max-instances", "8");
    let host = Host::start(&manifests(&[service])).await;
    let client = host.http2_client(80).await;
    let slow = async || assert_eq!(client.get("/slow/?ms=500").await.status, 200);
    let meanwhile = async {
        let busy = ["workload=\"slow\"", "state=\"busy\""];
        host.counted("galleria_instances", &busy, 4.0).await;
        assert_eq!(client.get("/nowhere").await.status, 404);
        let call = host.call("the 404", |call| path(call) == "/nowhere").await;
        assert_eq!(call["protocol"], "HTTP/2");
    };
    tokio::join!(slow(), slow(), slow(), slow(), meanwhile);
    let port = "port=\"80\"";
    host.counted("galleria_connections_accepted_total", &[port], 1.0)
        .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn request_in_progress_is_answered_while_the_host_stops() {
    let host = Host::start(&manifests(&[Service::new("slow", "slow")])).await;
    let log = host.log().clone();
    let mut client = host.client(80).await;
    let slow = client.get("/slow/?ms=500");
    let stopped = async {
        let busy = ["workload=\"slow\"", "state=\"busy\""];
        host.counted("galleria_instances", &busy, 1.0).await;
        host.stop().await;
    };
    let (answer, ()) = tokio::join!(slow, stopped);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), "close");
    let calls = log.lines();
    let call = calls.iter().find(|line| line["path"] == "/slow/?ms=500");
    let call = call.expect("the line is written before the host ends");
    assert_eq!(call["response_flags"], "-");
}
