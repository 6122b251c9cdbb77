//! Pods that together need more memory than is available, and which pod is evicted.

use serde_json::Value;

use crate::support::{Galleria, Host, Service, eventually, manifests};

const MIB: u64 = 1 << 20;

/// `greedy` requests no memory, `modest` requests 64 MiB; together they have 100 MiB.
fn start() -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let service =
        |name| Service::new(name, "allocate").annotation("galleria.dev/isolation", "instance");
    let greedy = service("greedy").memory("300Mi");
    let yaml = manifests(&[greedy, service("modest").memory("64Mi")]);
    let limits = "{limits: {memory: 300Mi}}";
    assert!(yaml.contains(limits), "{yaml}");
    std::fs::write(&file, yaml.replace(limits, "{}")).expect("a file");
    Galleria::run(file)
        .argument(&format!("--guest-memory={}", 100 * MIB))
        .argument("--restart-backoff-initial=100ms")
        .start()
}

/// How the pod of `app` last ended, and its restart count.
fn last_end(host: &Host, app: &str) -> (Value, Value) {
    let pods = host.objects("Pod");
    let pod = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["app"] == app);
    let status = &pod.expect("the pod")["status"]["containerStatuses"][0];
    (
        status["lastState"]["terminated"].clone(),
        status["restartCount"].clone(),
    )
}

#[test]
fn pod_over_its_request_is_evicted_for_a_pod_within_its_request() {
    let host = start();
    assert_eq!(host.get("/greedy/allocate?mib=70&keep").status, 200);
    let modest = host.get("/modest/allocate?mib=50&keep");
    assert_eq!((modest.status, modest.body.as_str()), (200, "50 MiB\n"));
    eventually("the greedy pod is evicted", || {
        let (ended, restarts) = last_end(&host, "greedy");
        let message = ended["message"].as_str()?;
        let said = message.starts_with("the node was low on resource: memory");
        (ended["reason"] == "Evicted" && said && restarts == 1).then_some(())
    });
    eventually("it is restarted with empty memory", || {
        (host.get("/greedy/ok").status == 200).then_some(())
    });
    assert!(host.metric("galleria_memory_bytes", &["workload=\"greedy\""]) < 10e6);
    assert!(host.metric("galleria_memory_bytes", &["workload=\"modest\""]) > 50e6);
    assert_eq!(last_end(&host, "modest"), (Value::Null, 0.into()));
}

#[test]
fn pod_over_its_request_is_killed_before_it_uses_the_reserve() {
    let host = start();
    assert_eq!(host.get("/modest/allocate?mib=20&keep").status, 200);
    assert_eq!(
        host.get("/greedy/allocate").status,
        503,
        "the pod is within its limit"
    );
    eventually("the status of the greedy pod names the reason", || {
        let (ended, _) = last_end(&host, "greedy");
        let message = ended["message"].as_str()?;
        let said = message.contains("bytes for guests are exhausted");
        (ended["reason"] == "OOMKilled" && said).then_some(())
    });
    assert_eq!(host.get("/greedy/allocate?mib=30").status, 200);
    assert_eq!(host.get("/modest/allocate?mib=30").status, 200);
    assert_eq!(last_end(&host, "modest"), (Value::Null, 0.into()));
}
