//! The surroundings of the workloads: limits, policies, budgets, and whether they are
//! consistent.

use serde_json::{Value, json};

use super::rendered::{ManifestObject, overlay, overlays};

const PORTAL: &str = "shoppingportal";

/// The only object of this kind and name.
fn the<'a>(objects: &'a [ManifestObject], kind: &str, name: &str) -> &'a Value {
    let is_it = |it: &&ManifestObject| it.kind() == kind && it.name() == name;
    let mut found = objects.iter().filter(is_it);
    let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two: {kind} {name}");
    &one.object
}

#[test]
fn every_overlay_has_what_a_namespace_needs() {
    for name in overlays() {
        let objects = overlay(&name);
        let labels = &the(&objects, "Namespace", PORTAL)["metadata"]["labels"];
        assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        let nothing = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        let deny = the(&objects, "NetworkPolicy", "default-deny");
        assert_eq!(deny["spec"], nothing, "{name}");
        for (kind, object) in [
            ("ResourceQuota", "portal"),
            ("LimitRange", "portal"),
            ("PodMonitor", "galleria"),
            ("CronJob", "postgresql-backup"),
            ("PersistentVolumeClaim", "postgresql-backup"),
            ("DaemonSet", "fluent-bit"),
        ] {
            the(&objects, kind, object);
        }
        let database = the(&objects, "StatefulSet", "postgresql");
        assert!(database["spec"]["volumeClaimTemplates"][0].is_object());
        let secret = |it: &ManifestObject| it.kind() == "Secret";
        assert!(!objects.iter().any(secret), "{name}: a Secret in a file");
    }
}

/// The Deployments of hosts.
fn hosts(objects: &[ManifestObject]) -> impl Iterator<Item = &ManifestObject> {
    objects.iter().filter(|it| it.kind() == "Deployment")
}

/// The maximum number of pods of a Deployment: that of its autoscaler, or its `replicas`.
fn pods_max(objects: &[ManifestObject], deployment: &ManifestObject) -> Option<u64> {
    let replicas = deployment.object["spec"]["replicas"].as_u64();
    let scales = |it: &&ManifestObject| {
        let target = &it.object["spec"]["scaleTargetRef"];
        it.kind() == "HorizontalPodAutoscaler" && target["name"] == deployment.name()
    };
    let autoscaler = objects.iter().find(scales).map(|it| &it.object);
    // Setting both would conflict.
    assert!(replicas.is_none() || autoscaler.is_none());
    if let Some(autoscaler) = autoscaler {
        assert_eq!(autoscaler["apiVersion"], "autoscaling/v2");
        assert_eq!(autoscaler["spec"]["minReplicas"], 2);
        assert!(autoscaler["spec"]["metrics"].is_array());
    }
    replicas.or_else(|| autoscaler?["spec"]["maxReplicas"].as_u64())
}

#[test]
fn each_deployment_has_a_size_and_a_disruption_budget() {
    for name in overlays() {
        let objects = overlay(&name);
        for host in hosts(&objects) {
            assert!(
                pods_max(&objects, host).is_some(),
                "{name}: {}",
                host.name()
            );
            let labels = &host.template().expect("a template")["metadata"]["labels"];
            let guards = |it: &&ManifestObject| {
                let selector = &it.object["spec"]["selector"]["matchLabels"];
                it.kind() == "PodDisruptionBudget" && selects(selector, labels)
            };
            let budget = objects.iter().find(guards).map(|it| &it.object["spec"]);
            match host.name() {
                "ratings" => assert!(budget.is_none()), // a single pod without callers
                _ => assert_eq!(budget.expect(&name)["maxUnavailable"], 1),
            }
        }
    }
}

#[test]
fn each_service_selects_pods_with_its_port() {
    for name in overlays() {
        let objects = overlay(&name);
        for service in objects.iter().filter(|it| it.kind() == "Service") {
            let spec = &service.object["spec"];
            let target = &spec["ports"][0]["targetPort"];
            let takes = |pod: &Value| {
                let ports = pod["spec"]["containers"][0]["ports"].as_array();
                selects(&spec["selector"], &pod["metadata"]["labels"])
                    && ports.is_some_and(|it| it.iter().any(|port| port["name"] == *target))
            };
            let found = objects
                .iter()
                .filter_map(ManifestObject::template)
                .any(takes);
            assert!(found, "{name}: {}", service.name());
        }
    }
}

/// Whether `labels` contains all labels of a selector.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().expect("a selector");
    selector.iter().all(|(key, value)| labels[key] == *value)
}

#[test]
fn quota_allows_maximum_scale_plus_a_rollout() {
    for name in overlays() {
        let objects = overlay(&name);
        let hard = &the(&objects, "ResourceQuota", "portal")["spec"]["hard"];
        let mut pods = 0;
        let mut wanted = [0.0; 3];
        for object in &objects {
            let Some(template) = object.template() else {
                continue;
            };
            let here = object.object["metadata"]["namespace"] == PORTAL;
            let number = match object.kind() {
                "Deployment" => pods_max(&objects, object).expect("a size") + 1,
                _ => 1,
            };
            let resources = &template["spec"]["containers"][0]["resources"];
            let (requests, limits) = (&resources["requests"], &resources["limits"]);
            let of_pod = [&requests["cpu"], &requests["memory"], &limits["memory"]];
            if here {
                pods += number;
                for (sum, one) in wanted.iter_mut().zip(of_pod) {
                    *sum += quantity(one) * number as f64;
                }
            }
        }
        assert!(
            pods as f64 <= quantity(&hard["pods"]),
            "{name}: {pods} pods"
        );
        let names = ["requests.cpu", "requests.memory", "limits.memory"];
        for (wanted, of_quota) in wanted.into_iter().zip(names) {
            let most = quantity(&hard[of_quota]);
            assert!(wanted <= most, "{name}: {of_quota} {wanted}");
        }
    }
}

/// A number with the units that the manifests use.
fn quantity(value: &Value) -> f64 {
    let text = value.as_str().expect("a quantity");
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 0.001,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("{other} in {text}"),
    };
    digits.parse::<f64>().expect("a number") * unit
}
