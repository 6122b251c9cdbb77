//! Conversion of kinds whose versions differ in their fields or defaults. Objects are stored
//! in the newest version; an older one is a view.

mod ingress;
mod old_defaults;

use serde_json::{Value, json};

use crate::admin::kind::{Kind, api_version};

/// Converts `object` from any version to `version`.
pub(crate) fn convert(object: &mut Value, kind: &Kind, version: &str) {
    let wanted = api_version(kind.group, version);
    if kind.kind == "HorizontalPodAutoscaler" && object["apiVersion"] != wanted {
        match version {
            "v1" => one_target(object),
            _ => metrics(object),
        }
    }
    if kind.kind == "Ingress" && kind.group == "networking.k8s.io" {
        match wanted == ingress::OLD {
            true => ingress::to_old(object),
            false => ingress::to_new(object),
        }
    }
    object["apiVersion"] = wanted.into();
}

/// Converts `object` to the version that is stored. Fields that its version does not have
/// are taken from `before`, the stored object.
pub(crate) fn to_stored(
    mut object: Value,
    kind: &Kind,
    version: &str,
    before: Option<&Value>,
) -> Value {
    let newest = kind.versions.first().copied().unwrap_or(version);
    let api_version = api_version(kind.group, version);
    if kind.old_served().any(|old| old == api_version) {
        old_defaults::fill_in(&api_version, kind.kind, &mut object);
        convert(&mut object, kind, newest);
        return object;
    }
    if kind.kind != "HorizontalPodAutoscaler" || version == newest {
        return object;
    }
    convert(&mut object, kind, newest);
    let Some(before) = before else {
        return object;
    };
    let (spec, before) = (&mut object["spec"], &before["spec"]);
    let others = before["metrics"].as_array().into_iter().flatten();
    let others: Vec<_> = others.filter(|it| !is_cpu(it)).cloned().collect();
    if let Some(Value::Array(metrics)) = spec.get_mut("metrics") {
        metrics.extend(others);
    } else if !others.is_empty() {
        spec["metrics"] = others.into();
    }
    if !before["behavior"].is_null() {
        spec["behavior"] = before["behavior"].clone();
    }
    object
}

fn is_cpu(metric: &Value) -> bool {
    metric["resource"]["name"] == "cpu"
        && !metric["resource"]["target"]["averageUtilization"].is_null()
}

/// To `autoscaling/v1`, which has a single target: CPU utilization.
fn one_target(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    spec.remove("behavior");
    let metrics = spec.remove("metrics").unwrap_or_default();
    let cpu = metrics
        .as_array()
        .into_iter()
        .flatten()
        .find(|it| is_cpu(it));
    if let Some(cpu) = cpu {
        let target = cpu["resource"]["target"]["averageUtilization"].clone();
        spec.insert("targetCPUUtilizationPercentage".to_owned(), target);
    }
    let status = object.get_mut("status").and_then(Value::as_object_mut);
    let Some(status) = status else {
        return;
    };
    let current = status.remove("currentMetrics").unwrap_or_default();
    status.remove("conditions");
    let cpu = |it: &&Value| it["resource"]["name"] == "cpu";
    if let Some(cpu) = current.as_array().into_iter().flatten().find(cpu) {
        let current = cpu["resource"]["current"]["averageUtilization"].clone();
        status.insert("currentCPUUtilizationPercentage".to_owned(), current);
    }
}

/// From `autoscaling/v1`.
fn metrics(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else {
        return;
    };
    if let Some(target) = spec.remove("targetCPUUtilizationPercentage") {
        let cpu = json!({
            "type": "Resource",
            "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": target},
            },
        });
        spec.insert("metrics".to_owned(), json!([cpu]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind() -> &'static Kind {
        Kind::at("autoscaling", "v1", "horizontalpodautoscalers").expect("a kind")
    }

    #[test]
    fn an_autoscaler_is_shown_in_both_versions() {
        let one = json!({
            "apiVersion": "autoscaling/v1",
            "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 70},
        });
        let mut two = one.clone();
        convert(&mut two, kind(), "v2");
        let target = &two["spec"]["metrics"][0]["resource"]["target"];
        assert_eq!(target["averageUtilization"], 70);
        assert!(two["spec"].get("targetCPUUtilizationPercentage").is_none());
        convert(&mut two, kind(), "v1");
        assert_eq!(two, one);
    }

    #[test]
    fn fields_that_the_old_version_does_not_have_stay() {
        let requests = json!({"type": "Pods", "pods": {"metric": {"name": "requests_per_second"}}});
        let before = json!({"spec": {"metrics": [requests], "behavior": {"scaleUp": {}}}});
        let wanted = json!({
            "apiVersion": "autoscaling/v1",
            "spec": {"maxReplicas": 5, "targetCPUUtilizationPercentage": 50},
        });
        let stored = to_stored(wanted, kind(), "v1", Some(&before));
        assert_eq!(stored["apiVersion"], "autoscaling/v2");
        assert_eq!(stored["spec"]["maxReplicas"], 5);
        assert_eq!(stored["spec"]["metrics"].as_array().map(Vec::len), Some(2));
        assert_eq!(stored["spec"]["metrics"][1], requests);
        assert!(!stored["spec"]["behavior"].is_null());
        let plain = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 5}});
        let stored = to_stored(plain.clone(), kind(), "v1", Some(&plain));
        assert_eq!(stored["spec"], plain["spec"]);
    }
}
