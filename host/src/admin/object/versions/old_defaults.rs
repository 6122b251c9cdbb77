//! The defaults of old versions, where they differ from those of the version that is stored.

use serde_json::{Value, json};

/// No limit, as API servers wrote it.
const UNLIMITED: i32 = i32::MAX;

/// The longest deadline of a rollout, a year. API servers wrote that there was none.
const DEADLINE_MAX: u32 = 365 * 24 * 3600;

/// Fills in the fields of `object` that are absent and whose default was another one in
/// `api_version`.
pub(super) fn fill_in(api_version: &str, kind: &str, object: &mut Value) {
    match (api_version, kind) {
        ("extensions/v1beta1", "Deployment") => {
            selector(object);
            default(object, "revisionHistoryLimit", json!(UNLIMITED));
            default(object, "progressDeadlineSeconds", json!(DEADLINE_MAX));
            one_by_one(object);
        }
        ("apps/v1beta1", "Deployment") => {
            selector(object);
            default(object, "revisionHistoryLimit", json!(2));
        }
        ("apps/v1beta1", "StatefulSet") => {
            selector(object);
            default(object, "updateStrategy", json!({"type": "OnDelete"}));
        }
        ("extensions/v1beta1", "DaemonSet") => {
            selector(object);
            default(object, "updateStrategy", json!({"type": "OnDelete"}));
        }
        ("extensions/v1beta1", "ReplicaSet") => selector(object),
        _ => {}
    }
}

/// The labels of the template.
fn selector(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if !labels.is_null() {
        default(object, "selector", json!({"matchLabels": labels}));
    }
}

/// Rolling updates of one pod at a time.
fn one_by_one(object: &mut Value) {
    default(object, "strategy", json!({}));
    let Some(strategy) = object.pointer_mut("/spec/strategy") else {
        return;
    };
    let kind = strategy["type"].as_str().unwrap_or("RollingUpdate");
    if kind == "RollingUpdate" && strategy["rollingUpdate"].is_null() {
        let rolling = json!({"maxSurge": 1, "maxUnavailable": 1});
        *strategy = json!({"type": kind, "rollingUpdate": rolling});
    }
}

fn default(object: &mut Value, field: &str, value: Value) {
    if object["spec"].is_object() && object["spec"][field].is_null() {
        object["spec"][field] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_get_the_defaults_of_their_version() {
        let template = json!({"metadata": {"labels": {"app": "a"}}});
        let filled = |api_version: &str, kind: &str| {
            let mut object = json!({"spec": {"template": template}});
            fill_in(api_version, kind, &mut object);
            object["spec"].take()
        };
        let oldest = filled("extensions/v1beta1", "Deployment");
        assert_eq!(oldest["selector"], json!({"matchLabels": {"app": "a"}}));
        assert_eq!(oldest["progressDeadlineSeconds"], DEADLINE_MAX);
        assert_eq!(oldest["strategy"]["rollingUpdate"]["maxUnavailable"], 1);
        let old = filled("apps/v1beta1", "Deployment");
        assert_eq!(old["revisionHistoryLimit"], 2);
        assert!(old["strategy"].is_null());
        let set = filled("apps/v1beta1", "StatefulSet");
        assert_eq!(set["updateStrategy"]["type"], "OnDelete");
        assert_eq!(
            filled("apps/v1beta2", "Deployment"),
            json!({"template": template})
        );
    }

    #[test]
    fn written_fields_stay() {
        let mut object =
            json!({"spec": {"strategy": {"type": "Recreate"}, "revisionHistoryLimit": 3}});
        fill_in("extensions/v1beta1", "Deployment", &mut object);
        assert_eq!(object["spec"]["strategy"], json!({"type": "Recreate"}));
        assert_eq!(object["spec"]["revisionHistoryLimit"], 3);
    }
}
