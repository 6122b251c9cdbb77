//! What pods without requests cost.

use super::testing::{Host, Service, manifests};

async fn idle_instances(host: &Host, workload: &str) -> f64 {
    let workload = format!("workload=\"{workload}\"");
    let labels = [workload.as_str(), "state=\"idle\""];
    host.metric("galleria_instances", &labels).await
}

#[tokio::test(flavor = "multi_thread")]
async fn instance_is_kept_only_if_it_has_served_a_request() {
    let pods = ["used", "unused"];
    let services =
        pods.map(|pod| Service::new(pod, "hello").annotation("galleria.dev/isolation", "instance"));
    let host = Host::start(&manifests(&services)).await;
    assert_eq!(host.get("/used/").await.status, 200);
    for pod in pods {
        assert_eq!(idle_instances(&host, pod).await, 1.0, "{pod}");
    }
    // What was idle at the first time and still is at the second time is dropped.
    host.trim();
    host.trim();
    assert_eq!(idle_instances(&host, "used").await, 1.0);
    assert_eq!(idle_instances(&host, "unused").await, 0.0);
    let memory = ["workload=\"unused\""];
    assert_eq!(host.metric("galleria_memory_bytes", &memory).await, 0.0);
    let answer = host.get("/unused/").await;
    assert_eq!((answer.status, &*answer.body), (200, "hello\n"));
}
