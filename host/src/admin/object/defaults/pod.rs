//! The defaults of pods and of the templates of pods.

use serde_json::{Value, json};

use super::{default, entries};

/// The parts of a path to a list of containers.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

/// The defaults of a `spec` in a Pod or in a template.
pub(super) fn spec(spec: &mut Value) {
    default(spec, "restartPolicy", json!("Always"));
    default(spec, "dnsPolicy", json!("ClusterFirst"));
    default(spec, "schedulerName", json!("default-scheduler"));
    default(spec, "securityContext", json!({}));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    // The old name of the field has the same value.
    let account = spec["serviceAccountName"].clone();
    match account.is_null() {
        true => {
            let old = spec["serviceAccount"].clone();
            if !old.is_null() {
                default(spec, "serviceAccountName", old);
            }
        }
        false => default(spec, "serviceAccount", account),
    }
    for list in CONTAINERS {
        for container in entries(spec, list) {
            self::container(container);
        }
    }
    for volume in entries(spec, "volumes") {
        self::volume(volume);
    }
}

/// What a Pod has besides.
pub(super) fn pod(spec: &mut Value) {
    default(spec, "enableServiceLinks", json!(true));
    default(spec, "priority", json!(0));
    default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
    default(spec, "serviceAccountName", json!("default"));
    self::spec(spec);
    for list in CONTAINERS {
        for container in entries(spec, list) {
            requests(container);
        }
    }
}

/// A limit is also the request, unless there is another.
fn requests(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else {
        return;
    };
    default(&mut container["resources"], "requests", json!({}));
    for (name, limit) in limits {
        default(&mut container["resources"]["requests"], &name, limit);
    }
}

fn container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let image = container["image"].as_str().unwrap_or_default();
    default(container, "imagePullPolicy", json!(pull_policy(image)));
    let path = "/dev/termination-log";
    default(container, "terminationMessagePath", json!(path));
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "resources", json!({}));
    for port in entries(container, "ports") {
        default(port, "protocol", json!("TCP"));
    }
    for variable in entries(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            default(field, "apiVersion", json!("v1"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name) {
            self::probe(probe);
        }
    }
    for hook in ["/lifecycle/postStart/httpGet", "/lifecycle/preStop/httpGet"] {
        if let Some(action) = container.pointer_mut(hook) {
            http_action(action);
        }
    }
}

/// An image whose tag may move is pulled again.
fn pull_policy(image: &str) -> &'static str {
    let (name, has_digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) if tag != "latest" => "IfNotPresent",
        _ if has_digest => "IfNotPresent",
        _ => "Always",
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        default(probe, field, json!(value));
    }
    if let Some(action) = probe.get_mut("httpGet") {
        http_action(action);
    }
    if let Some(action) = probe.get_mut("grpc") {
        default(action, "service", json!(""));
    }
}

fn http_action(action: &mut Value) {
    default(action, "path", json!("/"));
    default(action, "scheme", json!("HTTP"));
}

fn volume(volume: &mut Value) {
    let sources = volume.as_object().map_or(0, |fields| {
        fields.keys().filter(|name| *name != "name").count()
    });
    if sources == 0 {
        default(volume, "emptyDir", json!({}));
    }
    for (source, field, value) in [
        ("configMap", "defaultMode", json!(420)),
        ("secret", "defaultMode", json!(420)),
        ("downwardAPI", "defaultMode", json!(420)),
        ("projected", "defaultMode", json!(420)),
        ("hostPath", "type", json!("")),
    ] {
        if let Some(source) = volume.get_mut(source) {
            default(source, field, value);
        }
    }
    if let Some(source) = volume.get_mut("downwardAPI") {
        for item in entries(source, "items") {
            if let Some(field) = item.get_mut("fieldRef") {
                default(field, "apiVersion", json!("v1"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pulled_again_if_their_tag_may_move() {
        for (image, policy) in [
            ("hello", "Always"),
            ("hello:latest", "Always"),
            ("hello:v1", "IfNotPresent"),
            ("registry.test:5000/hello", "Always"),
            ("registry.test:5000/hello:v1", "IfNotPresent"),
            ("hello@sha256:0123", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), policy, "{image}");
        }
    }

    #[test]
    fn a_limit_is_also_the_request() {
        let mut spec = json!({"containers": [
            {"resources": {"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "500m"}}},
        ]});
        pod(&mut spec);
        let requests = &spec["containers"][0]["resources"]["requests"];
        assert_eq!(*requests, json!({"cpu": "500m", "memory": "1Mi"}));
    }
}
