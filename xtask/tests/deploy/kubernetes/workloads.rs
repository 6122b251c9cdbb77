//! Required and forbidden settings of every workload of every overlay.

use serde_json::{Value, json};

use super::rendered::{ManifestObject, deploy, overlay, overlays, restoring};

/// Pods that run to completion need no probes.
const WITHOUT_PROBES: [&str; 2] = ["Job", "CronJob"];

#[test]
fn every_workload_has_probes_limits_a_security_context_and_a_pinned_image() {
    for overlay_name in overlays() {
        let mut faults = Vec::new();
        for object in overlay(&overlay_name).iter().chain(&restoring()) {
            let Some(template) = object.template() else {
                continue;
            };
            let fault = |text: &str| format!("{}/{}: {text}", object.kind(), object.name());
            faults.extend(
                faults_of_pod(object, &template["spec"])
                    .into_iter()
                    .map(fault),
            );
        }
        assert!(faults.is_empty(), "{overlay_name}:\n{}", faults.join("\n"));
    }
}

/// The missing settings of a pod.
fn faults_of_pod(workload: &ManifestObject, pod: &Value) -> Vec<&'static str> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, fault| {
        if !holds {
            faults.push(fault);
        }
    };
    // The DaemonSet that reads the nodes' logs, in a separate namespace.
    let reads_logs = workload.kind() == "DaemonSet" && workload.name() == "fluent-bit";
    let security = &pod["securityContext"];
    must(
        pod["automountServiceAccountToken"] == false,
        "a token is mounted",
    );
    must(pod["serviceAccountName"].is_string(), "no ServiceAccount");
    must(
        security["seccompProfile"]["type"] == "RuntimeDefault",
        "no seccomp profile",
    );
    must(
        reads_logs || security["runAsNonRoot"] == true,
        "may run as root",
    );
    let containers = pod["containers"].as_array().expect("containers");
    for container in containers {
        let security = &container["securityContext"];
        must(
            security["readOnlyRootFilesystem"] == true,
            "has a writable root",
        );
        must(
            security["allowPrivilegeEscalation"] == false,
            "may escalate",
        );
        must(
            security["capabilities"]["drop"] == json!(["ALL"]),
            "has capabilities",
        );
        let resources = &container["resources"];
        must(resources["requests"]["cpu"].is_string(), "no CPU request");
        must(
            resources["requests"]["memory"].is_string(),
            "no memory request",
        );
        must(resources["limits"]["memory"].is_string(), "no memory limit");
        must(
            is_pinned(&container["image"]),
            "image: needs a short name and a pinned tag",
        );
        if !WITHOUT_PROBES.contains(&workload.kind()) {
            must(container["livenessProbe"].is_object(), "no liveness probe");
            must(
                container["readinessProbe"].is_object(),
                "no readiness probe",
            );
        }
    }
    if pod["containers"][0]["name"] == "galleria" {
        must(
            pod["containers"][0]["startupProbe"].is_object(),
            "no startup probe",
        );
        must(
            pod["terminationGracePeriodSeconds"] == 60,
            "no grace period of a minute",
        );
        let stop = &pod["containers"][0]["lifecycle"]["preStop"];
        must(stop["sleep"]["seconds"] == 10, "no preStop sleep of 10 s");
        must(pod["topologySpreadConstraints"].is_array(), "not spread");
        must(
            pod["affinity"]["podAntiAffinity"].is_object(),
            "no anti-affinity",
        );
    }
    faults
}

#[test]
fn empty_pod_lacks_every_required_setting() {
    let silent = ManifestObject {
        object: json!({"kind": "Deployment", "metadata": {"name": "galleria"}}),
        verdict: Value::Null,
    };
    let pod = json!({"containers": [{"name": "galleria"}]});
    let faults = [
        "a token is mounted",
        "no ServiceAccount",
        "no seccomp profile",
        "may run as root",
        "has a writable root",
        "may escalate",
        "has capabilities",
        "no CPU request",
        "no memory request",
        "no memory limit",
        "image: needs a short name and a pinned tag",
        "no liveness probe",
        "no readiness probe",
        "no startup probe",
        "no grace period of a minute",
        "no preStop sleep of 10 s",
        "not spread",
        "no anti-affinity",
    ];
    assert_eq!(faults_of_pod(&silent, &pod), faults);
}

/// Whether the image is `NAME:TAG` or `FOLDER/NAME:TAG`, with a version in the tag.
fn is_pinned(image: &Value) -> bool {
    let image = image.as_str().unwrap_or_default();
    let Some((name, tag)) = image.rsplit_once(':') else {
        return false;
    };
    let is_version = tag
        .trim_start_matches('v')
        .starts_with(|it: char| it.is_ascii_digit());
    names_no_host(name) && is_version && tag.contains('.')
}

fn names_no_host(image: &str) -> bool {
    let first = image.split_once('/').map(|(first, _)| first);
    first.is_none_or(|first| !first.contains(['.', ':']) && first != "localhost")
}

#[test]
fn unpinned_images_and_images_with_a_registry_are_found() {
    for good in [
        "galleria:0.2.0",
        "postgres:17.6-bookworm",
        "prom/prometheus:v3.5.0",
    ] {
        assert!(is_pinned(&json!(good)), "{good}");
    }
    for bad in [
        "galleria",
        "galleria:latest",
        "galleria:1",
        "registry.example/galleria:0.2.0",
        "localhost/galleria:0.2.0",
        "host:5000/galleria:0.2.0",
    ] {
        assert!(!is_pinned(&json!(bad)), "{bad}");
    }
}

#[test]
fn no_file_pulls_an_image_from_a_named_registry() {
    let mut folders = vec![deploy().join("kubernetes")];
    let mut images = 0;
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a text");
            let words = text.lines().filter_map(|line| {
                let (_, image) = line.split_once("image:").or(line.split_once("newName:"))?;
                image.split([' ', ',', '}']).find(|word| !word.is_empty())
            });
            for image in words {
                assert!(names_no_host(image), "{}: {image}", path.display());
                images += 1;
            }
        }
    }
    assert!(images > 10, "{images}");
}

#[test]
fn portal_runs_under_restricted_pod_security() {
    for name in overlays() {
        for object in overlay(&name) {
            let Some(template) = object.template() else {
                continue;
            };
            if object.object["metadata"]["namespace"] != "shoppingportal" {
                continue;
            }
            let volumes = template["spec"]["volumes"].as_array().cloned();
            for volume in volumes.unwrap_or_default() {
                assert!(volume.get("hostPath").is_none(), "{name}: {volume}");
            }
            for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(template["spec"].get(namespace).is_none(), "{name}");
            }
        }
    }
}
