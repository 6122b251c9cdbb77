//! Defaults that clients rely on, as an API server fills them in: kubectl reads
//! `spec.replicas` without a check.

mod pod;
mod workload;

use serde_json::{Value, json};

/// Fills in the defaults of `kind` where `object` has no value.
pub(super) fn fill_in(kind: &str, object: &mut Value) {
    match kind {
        "Namespace" => namespace(object),
        "Secret" => default(object, "type", json!("Opaque")),
        "Job" => workload::job_labels(object),
        _ => {}
    }
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    match kind {
        "Deployment" => workload::deployment(spec),
        "DaemonSet" => workload::daemon_set(spec),
        "ReplicaSet" => workload::replica_set(spec),
        "StatefulSet" => workload::stateful_set(spec),
        "Job" => workload::job(spec),
        "CronJob" => workload::cron_job(spec),
        "Pod" => pod::pod(spec),
        "Service" => service(spec),
        "PersistentVolumeClaim" => default(spec, "volumeMode", json!("Filesystem")),
        "HorizontalPodAutoscaler" => {
            default(spec, "minReplicas", json!(1));
            behavior(spec);
        }
        "LimitRange" => limit_range(spec),
        "NetworkPolicy" => network_policy(spec),
        _ => {}
    }
}

/// The metric of an autoscaler that names none, in the form of its version.
pub(super) fn metric(object: &mut Value) {
    let is_first = object["apiVersion"] == "autoscaling/v1";
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    let target = "targetCPUUtilizationPercentage";
    if is_first {
        default(spec, target, json!(80));
    } else {
        let utilization = json!({"type": "Utilization", "averageUtilization": 80});
        let cpu = json!({"name": "cpu", "target": utilization});
        default(
            spec,
            "metrics",
            json!([{"type": "Resource", "resource": cpu}]),
        );
    }
}

/// The rules of an autoscaler, if it has some.
fn behavior(spec: &mut Value) {
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let Some(behavior) = spec.get_mut("behavior") else {
        return;
    };
    default(behavior, "scaleUp", json!({}));
    default(behavior, "scaleDown", json!({}));
    if let Some(up) = behavior.get_mut("scaleUp") {
        default(up, "stabilizationWindowSeconds", json!(0));
        default(up, "selectPolicy", json!("Max"));
        default(up, "policies", json!([pods, percent]));
    }
    if let Some(down) = behavior.get_mut("scaleDown") {
        default(down, "selectPolicy", json!("Max"));
        default(down, "policies", json!([percent]));
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    let metadata = &mut object["metadata"];
    default(metadata, "labels", json!({}));
    if let Some(labels) = metadata.get_mut("labels").filter(|it| it.is_object()) {
        labels["kubernetes.io/metadata.name"] = name;
    }
    default(object, "spec", json!({"finalizers": ["kubernetes"]}));
}

fn service(spec: &mut Value) {
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "ClientIP" {
        let config = json!({"clientIP": {"timeoutSeconds": 10_800}});
        default(spec, "sessionAffinityConfig", config);
    }
    for port in entries(spec, "ports") {
        let number = port["port"].clone();
        default(port, "protocol", json!("TCP"));
        default(port, "targetPort", number);
    }
    if spec["type"] == "ExternalName" {
        return;
    }
    default(spec, "internalTrafficPolicy", json!("Cluster"));
    let address = spec["clusterIP"].clone();
    if !address.is_null() {
        let family = match address.as_str().is_some_and(|it| it.contains(':')) {
            true => "IPv6",
            false => "IPv4",
        };
        default(spec, "clusterIPs", json!([address]));
        default(spec, "ipFamilies", json!([family]));
        default(spec, "ipFamilyPolicy", json!("SingleStack"));
    }
}

/// The default of a container is also its request.
fn limit_range(spec: &mut Value) {
    for limit in entries(spec, "limits") {
        if limit["type"] != "Container" {
            continue;
        }
        let maxima = limit["max"].as_object().cloned().unwrap_or_default();
        for (name, value) in maxima {
            default(limit, "default", json!({}));
            default(&mut limit["default"], &name, value);
        }
        for (from, to) in [("default", "defaultRequest"), ("min", "defaultRequest")] {
            let values = limit[from].as_object().cloned().unwrap_or_default();
            for (name, value) in values {
                default(limit, to, json!({}));
                default(&mut limit[to], &name, value);
            }
        }
    }
}

fn network_policy(spec: &mut Value) {
    for list in ["ingress", "egress"] {
        for rule in entries(spec, list) {
            for port in entries(rule, "ports") {
                default(port, "protocol", json!("TCP"));
            }
        }
    }
    let types = match spec["egress"].as_array().is_some_and(|it| !it.is_empty()) {
        true => json!(["Ingress", "Egress"]),
        false => json!(["Ingress"]),
    };
    default(spec, "policyTypes", types);
}

fn entries<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.get_mut(field).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn default(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut()
        && fields.get(field).is_none_or(Value::is_null)
    {
        fields.insert(field.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absent_fields_are_filled_in() {
        let mut object = json!({"spec": {
            "replicas": 0,
            "strategy": {"rollingUpdate": {"maxSurge": 1}},
            "template": {"spec": {"containers": [{"ports": [{"containerPort": 80}]}]}},
        }});
        fill_in("Deployment", &mut object);
        let spec = &object["spec"];
        assert_eq!(spec["replicas"], 0);
        assert_eq!(spec["strategy"]["rollingUpdate"]["maxSurge"], 1);
        assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], "25%");
        let container = &spec["template"]["spec"]["containers"][0];
        assert_eq!(container["ports"][0]["protocol"], "TCP");
        let mut bare = json!({"spec": {}});
        fill_in("Deployment", &mut bare);
        assert_eq!(bare["spec"]["replicas"], 1);
        assert!(bare["spec"]["template"]["spec"].is_null());
    }

    #[test]
    fn values_of_a_wrong_type_are_left_alone() {
        for spec in [
            json!(null),
            json!("text"),
            json!({"ports": 1}),
            json!({"ports": [1]}),
        ] {
            let mut object = json!({ "spec": spec });
            fill_in("Service", &mut object);
            fill_in("Pod", &mut object);
        }
    }
}
