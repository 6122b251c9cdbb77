//! Pods and their events as objects: `galleria status -o json`.

use serde_json::Value;

use crate::support::{Galleria, Host, Service, eventually, manifests};

fn run(services: &[Service]) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(services)).expect("a file");
    Galleria::run(file)
        .argument("--restart-backoff-initial=100ms")
        .start()
}

/// The event with `reason`, as soon as it has occurred `count` times.
fn event(host: &Host, reason: &str, count: u64) -> Value {
    eventually(&format!("{count} events {reason}"), || {
        host.objects("Event")
            .into_iter()
            .find(|event| event["reason"] == reason && event["count"].as_u64() >= Some(count))
    })
}

#[test]
fn pod_is_an_object_with_the_status_of_a_cluster() {
    let host = run(&[Service::new("good", "hello")]);
    let pods = host.objects("Pod");
    let [pod] = pods.as_slice() else {
        panic!("one pod: {pods:?}");
    };
    let name = pod["metadata"]["name"].as_str().expect("a name");
    let owner = &pod["metadata"]["ownerReferences"][0];
    assert_eq!(owner["kind"], "ReplicaSet");
    assert!(name.starts_with(&format!("{}-", owner["name"].as_str().expect("a name"))));
    assert_eq!(pod["metadata"]["labels"]["app"], "good");
    assert_eq!(pod["spec"]["containers"][0]["image"], "hello");
    let status = &pod["status"];
    assert_eq!(status["phase"], "Running");
    let conditions = status["conditions"].as_array().expect("conditions");
    assert!(conditions.iter().all(|it| it["status"] == "True"), "{pod}");
    let container = &status["containerStatuses"][0];
    assert_eq!(
        (&container["ready"], &container["restartCount"]),
        (&true.into(), &0.into())
    );
    assert!(
        container["state"]["running"]["startedAt"].is_string(),
        "{pod}"
    );
    let started = event(&host, "Started", 1);
    assert_eq!(started["involvedObject"]["name"], name);
    assert_eq!(started["involvedObject"]["uid"], pod["metadata"]["uid"]);
    assert_eq!(started["type"], "Normal");
}

#[test]
fn trap_is_reported_in_the_pods_status_and_in_one_event() {
    let host = run(&[Service::new("bad", "trap")]);
    for _ in 0..3 {
        assert_eq!(host.get("/bad/").status, 503);
    }
    let event = event(&host, "Error", 3);
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["metadata"]["namespace"], "test");
    let pods = host.objects("Pod");
    let container = &pods[0]["status"]["containerStatuses"][0];
    let last = &container["lastState"]["terminated"];
    assert_eq!(
        (&last["reason"], &last["exitCode"]),
        (&"Error".into(), &134.into())
    );
    let message = last["message"].as_str().expect("a message");
    assert!(message.contains("wasm backtrace"), "{message}");
    // The instance ended, but the pod keeps running.
    assert_eq!(
        (&container["ready"], &container["restartCount"]),
        (&true.into(), &0.into())
    );
    let page = host.status_page(&[]).stdout;
    let line = page
        .lines()
        .find(|line| line.contains("Warning"))
        .expect("the event");
    assert!(line.contains("Error") && line.contains("x3"), "{page}");
    assert!(page.contains("LAST END"), "{page}");
}
