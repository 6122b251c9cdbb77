//! Pods that together want more memory than there is: who gives way.

use serde_json::Value;

use crate::support::{Galleria, Host, Service, eventually, manifests};

const MIB: u64 = 1 << 20;

/// `greedy` asks for nothing, `modest` for 64 MiB; there are 100 MiB for both.
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

/// How the pod of `app` last ended, and how often it was started again.
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
fn pod_over_its_request_is_evicted_for_one_within_its_own() {
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
    eventually("it starts again, with nothing", || {
        (host.get("/greedy/ok").status == 200).then_some(())
    });
    assert!(host.metric("galleria_memory_bytes", &["workload=\"greedy\""]) < 10e6);
    assert!(host.metric("galleria_memory_bytes", &["workload=\"modest\""]) > 50e6);
    assert_eq!(last_end(&host, "modest"), (Value::Null, 0.into()));
}

#[test]
fn pod_over_its_request_is_killed_before_it_takes_the_last_of_the_memory() {
    let host = start();
    assert_eq!(host.get("/modest/allocate?mib=20&keep").status, 200);
    assert_eq!(host.get("/greedy/allocate").status, 503, "within its limit");
    eventually("the greedy pod's status says why", || {
        let (ended, _) = last_end(&host, "greedy");
        let message = ended["message"].as_str()?;
        let said = message.contains("bytes for guests are exhausted");
        (ended["reason"] == "OOMKilled" && said).then_some(())
    });
    assert_eq!(host.get("/greedy/allocate?mib=30").status, 200);
    assert_eq!(host.get("/modest/allocate?mib=30").status, 200);
    assert_eq!(last_end(&host, "modest"), (Value::Null, 0.into()));
}
