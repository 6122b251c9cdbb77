//! Defaults that clients rely on: kubectl reads `spec.replicas` without a check. Each is
//! what the host does without the field.

use serde_json::{Value, json};

/// Fills in the defaults of `kind` where `object` has no value.
pub(super) fn fill_in(kind: &str, object: &mut Value) {
    let uid = object["metadata"]["uid"].clone();
    let Some(spec) = object.get_mut("spec") else {
        return;
    };
    match kind {
        "Deployment" => {
            default(spec, "replicas", json!(1));
            default(spec, "revisionHistoryLimit", json!(10));
            default(spec, "progressDeadlineSeconds", json!(600));
            default(spec, "strategy", json!({"type": "RollingUpdate"}));
            if let Some(strategy) = spec.get_mut("strategy") {
                self::strategy(strategy);
            }
            template(spec, "Always");
        }
        "DaemonSet" => {
            let update = json!({
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            });
            default(spec, "updateStrategy", update);
            default(spec, "revisionHistoryLimit", json!(10));
            template(spec, "Always");
        }
        "ReplicaSet" | "StatefulSet" => {
            default(spec, "replicas", json!(1));
            template(spec, "Always");
        }
        "Job" => {
            job(spec);
            let labels = json!({"batch.kubernetes.io/controller-uid": uid});
            default(spec, "selector", json!({ "matchLabels": labels }));
        }
        "CronJob" => {
            default(spec, "suspend", json!(false));
            default(spec, "concurrencyPolicy", json!("Allow"));
            default(spec, "successfulJobsHistoryLimit", json!(3));
            default(spec, "failedJobsHistoryLimit", json!(1));
            if let Some(spec) = spec.pointer_mut("/jobTemplate/spec") {
                job(spec);
            }
        }
        "Pod" => pod(spec, "Always"),
        "Service" => service(spec),
        _ => {}
    }
}

fn job(spec: &mut Value) {
    default(spec, "parallelism", json!(1));
    default(spec, "backoffLimit", json!(6));
    default(spec, "completionMode", json!("NonIndexed"));
    default(spec, "suspend", json!(false));
    if spec["parallelism"] == 1 {
        default(spec, "completions", json!(1));
    }
    template(spec, "Never");
}

fn strategy(strategy: &mut Value) {
    default(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        default(strategy, "rollingUpdate", json!({}));
        if let Some(rolling) = strategy.get_mut("rollingUpdate") {
            default(rolling, "maxSurge", json!("25%"));
            default(rolling, "maxUnavailable", json!("25%"));
        }
    }
}

fn template(spec: &mut Value, restart: &str) {
    if let Some(spec) = spec.pointer_mut("/template/spec") {
        pod(spec, restart);
    }
}

fn pod(spec: &mut Value, restart: &str) {
    default(spec, "restartPolicy", json!(restart));
    default(spec, "terminationGracePeriodSeconds", json!(30));
    for container in entries(spec, "containers") {
        for port in entries(container, "ports") {
            default(port, "protocol", json!("TCP"));
        }
    }
}

fn entries<'a>(object: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = object.get_mut(field).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

fn service(spec: &mut Value) {
    default(spec, "type", json!("ClusterIP"));
    for port in entries(spec, "ports") {
        let number = port["port"].clone();
        default(port, "protocol", json!("TCP"));
        default(port, "targetPort", number);
    }
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
