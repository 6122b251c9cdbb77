//! HorizontalPodAutoscalers scale pods up and down with their usage.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use crate::support::{Galleria, Host, Service, SetOnDrop, eventually, manifests};

fn autoscaler(app: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {app}, namespace: test}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: {app}}}
  minReplicas: 1
  behavior: {{scaleDown: {{stabilizationWindowSeconds: 0}}}}
{spec}"
    )
}

/// A target of five requests per second and pod.
const BY_REQUESTS: &str = "  maxReplicas: 3
  metrics: [{type: Pods, pods: {metric: {name: requests_per_second}, target: {type: AverageValue, averageValue: 5}}}]
";

fn replicas(host: &Host, name: &str) -> (u64, u64) {
    let object = host.object("Deployment", name);
    let available = object["status"]["availableReplicas"].as_u64();
    let wanted = object["spec"]["replicas"].as_u64();
    (wanted.expect("a number"), available.unwrap_or(0))
}

fn wait_for(host: &Host, name: &str, count: u64) {
    eventually(&format!("{name} has {count} pods"), || {
        (replicas(host, name) == (count, count)).then_some(())
    });
}

fn condition<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let mut conditions = status["conditions"].as_array()?.iter();
    conditions.find(|it| it["type"] == name)
}

/// Runs `story` while clients request `paths` continuously; every response must be 200.
fn under_load(host: &Host, paths: &[&str], story: impl FnOnce()) {
    let done = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        for path in paths {
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(host.get(path).status, 200, "{path}");
                }
            });
        }
        let ending = SetOnDrop(done);
        story();
        drop(ending);
    });
}

#[test]
fn pods_scale_up_and_down_with_cpu_and_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let services = |version: &str| {
        manifests(&[
            Service::new("hungry", "spin")
                .cpu("200m")
                .env("VERSION", version),
            Service::new("asked", "hello"),
        ])
    };
    let by_cpu = "  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 20}}}]
";
    let scaling = autoscaler("hungry", by_cpu) + &autoscaler("asked", BY_REQUESTS);
    std::fs::write(folder.path().join("scaling.yaml"), scaling).expect("a file");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, services("one")).expect("a file");
    let host = Galleria::run(folder.path())
        .argument("--horizontal-pod-autoscaler-sync-period=300ms")
        .start();
    under_load(&host, &["/hungry/spin?ms=20", "/asked/"], || {
        wait_for(&host, "hungry", 3);
        wait_for(&host, "asked", 3);
        let status = &host.object("HorizontalPodAutoscaler", "hungry")["status"];
        assert!(status["lastScaleTime"].is_string(), "{status}");
        assert_eq!(status["currentMetrics"][0]["resource"]["name"], "cpu");
        let active = condition(status, "ScalingActive").expect("the condition");
        assert_eq!(active["reason"], "ValidMetricFound", "{status}");
        let rescaled = |event: &Value| {
            event["reason"] == "SuccessfulRescale" && event["involvedObject"]["name"] == "hungry"
        };
        eventually("an event is recorded", || {
            host.objects("Event").iter().any(rescaled).then_some(())
        });

        let new = file.with_extension("new");
        std::fs::write(&new, services("two")).expect("a file");
        std::fs::rename(&new, &file).expect("renamed");
        eventually("the change is rolled out", || {
            let hungry = host.object("Deployment", "hungry");
            assert_ne!(hungry["spec"]["replicas"], 1, "the manifest's number");
            (hungry["metadata"]["generation"] != hungry["status"]["observedGeneration"]
                || hungry["status"]["updatedReplicas"] == 3)
                .then_some(())
        });
    });
    wait_for(&host, "hungry", 1);
    wait_for(&host, "asked", 1);
}

#[test]
fn quota_limits_the_autoscaler_and_the_status_names_it() {
    let quota = "---
apiVersion: v1
kind: ResourceQuota
metadata: {name: few, namespace: test}
spec: {hard: {pods: 2}}
";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let services = manifests(&[Service::new("asked", "hello")]);
    let minimum = BY_REQUESTS.replace("maxReplicas: 3", "maxReplicas: 5");
    let scaling = autoscaler("asked", &minimum).replace("minReplicas: 1", "minReplicas: 3");
    std::fs::write(&file, services + &scaling + quota).expect("a file");
    let host = Galleria::run(&file)
        .argument("--horizontal-pod-autoscaler-sync-period=100ms")
        .start();
    eventually("the status names the quota", || {
        let status = &host.object("HorizontalPodAutoscaler", "asked")["status"];
        let able = condition(status, "AbleToScale")?;
        let message = able["message"].as_str()?;
        (able["status"] == "False" && message.contains("ResourceQuota few")).then_some(())
    });
    assert_eq!(replicas(&host, "asked"), (1, 1));
}
