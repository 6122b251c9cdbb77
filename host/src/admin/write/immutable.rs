//! Fields that may not change after an object was created.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::admin::failure::{Cause, Failure};
use crate::admin::object::with_defaults;
use crate::admin::path::Resource;

/// Fields of a StatefulSet's `spec` that may change.
const STATEFUL_SET: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

/// Fields of a Pod's `spec` that may change, besides the images of its containers.
const POD: &[&str] = &[
    "activeDeadlineSeconds",
    "terminationGracePeriodSeconds",
    "tolerations",
    "schedulingGates",
    "ephemeralContainers",
];

/// Fields of a claim's `spec` that may change.
const CLAIM: &[&str] = &["resources", "volumeAttributesClassName", "volumeName"];

/// Checks a change from `before`, as it is shown, to `after`.
///
/// # Errors
/// A field changes that may not.
pub(super) fn check(resource: &Resource, before: &Value, after: &Value) -> Result<(), Failure> {
    let kind = resource.kind;
    let after = with_defaults(kind, after.clone());
    let changes = Changes {
        before,
        after: &after,
    };
    let mut causes = Vec::new();
    match kind.kind {
        "Deployment" | "ReplicaSet" => changes.fixed("/spec/selector", &mut causes),
        "StatefulSet" => changes.of_stateful_set(&mut causes),
        "Job" => changes.of_job(&mut causes),
        "Pod" => changes.only(POD, &mut causes),
        "PersistentVolumeClaim" => changes.only(CLAIM, &mut causes),
        "Service" => changes.of_service(&mut causes),
        "Secret" => changes.fixed("/type", &mut causes),
        _ => {}
    }
    match causes.is_empty() {
        true => Ok(()),
        false => Err(Failure::Invalid {
            kind,
            name: before["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            causes,
        }),
    }
}

struct Changes<'a> {
    before: &'a Value,
    after: &'a Value,
}

impl Changes<'_> {
    fn at(&self, pointer: &str) -> (&Value, &Value) {
        let at = |object| Value::pointer(object, pointer).unwrap_or(&Value::Null);
        (at(self.before), at(self.after))
    }

    /// The field at `pointer` must stay as it is.
    fn fixed(&self, pointer: &str, causes: &mut Vec<Cause>) {
        let (before, after) = self.at(pointer);
        // A field that was never set may be set once.
        if !before.is_null() && before != after {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            causes.push(Cause::invalid(&field, "field is immutable"));
        }
    }

    /// Only the fields of `mutable` of the `spec` may change.
    fn only(&self, mutable: &[&str], causes: &mut Vec<Cause>) {
        let (before, after) = self.at("/spec");
        let kept = |spec: &Value| {
            let mut spec = spec.clone();
            without_images(&mut spec);
            let fields = spec.as_object_mut().into_iter();
            fields.for_each(|fields| fields.retain(|name, _| !mutable.contains(&name.as_str())));
            spec
        };
        let (before, after) = (kept(before), kept(after));
        if before == after {
            return;
        }
        let of = |spec: &Value| spec.as_object().cloned().unwrap_or_default();
        let (before, after) = (of(&before), of(&after));
        let names = before.keys().chain(after.keys());
        let changed: BTreeSet<_> = names
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| format!("`{name}`"))
            .collect();
        let changed = changed.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!(
            "updates to spec for fields other than {} are forbidden; {changed} would change",
            mutable.join(", "),
        );
        causes.push(Cause::forbidden("spec", message));
    }

    fn of_stateful_set(&self, causes: &mut Vec<Cause>) {
        let (before, after) = self.at("/spec");
        let both = before.as_object().into_iter().chain(after.as_object());
        let names: BTreeSet<_> = both.flat_map(|fields| fields.keys()).collect();
        for name in names {
            if before.get(name) != after.get(name) && !STATEFUL_SET.contains(&name.as_str()) {
                let field = format!("spec.{name}");
                causes.push(Cause::invalid(&field, "field is immutable"));
            }
        }
    }

    fn of_job(&self, causes: &mut Vec<Cause>) {
        for pointer in ["/spec/selector", "/spec/completionMode"] {
            self.fixed(pointer, causes);
        }
        let indexed = self.after["spec"]["completionMode"] == "Indexed";
        if !indexed {
            self.fixed("/spec/completions", causes);
        }
        let is_suspended = self.before["spec"]["suspend"] == true;
        let (before, after) = self.at("/spec/template/spec");
        let scheduling = ["nodeSelector", "affinity", "tolerations", "schedulingGates"];
        let fixed = |spec: &Value| {
            let mut spec = spec.clone();
            if is_suspended && let Some(fields) = spec.as_object_mut() {
                fields.retain(|name, _| !scheduling.contains(&name.as_str()));
            }
            spec
        };
        if fixed(before) != fixed(after) {
            causes.push(Cause::invalid("spec.template.spec", "field is immutable"));
        }
    }

    fn of_service(&self, causes: &mut Vec<Cause>) {
        let is_external = |it: &Value| it["spec"]["type"] == "ExternalName";
        let (before, after) = self.at("/spec/clusterIP");
        // A client that leaves it out keeps the address.
        let is_set = |it: &Value| it.as_str().is_some_and(|text| !text.is_empty());
        let changes = is_set(before) && before != after && !after.is_null();
        if changes && !is_external(self.before) && !is_external(self.after) {
            let message = "may not change once set; create the Service anew";
            causes.push(Cause::invalid("spec.clusterIPs[0]", message));
        }
    }
}

/// The images of a pod's containers may change.
fn without_images(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            super::form::remove(container, "image");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::kind::Kind;

    fn refused(group: &str, plural: &str, before: &Value, after: &Value) -> Vec<String> {
        let resource = Resource {
            kind: Kind::at(group, "v1", plural).expect("a kind"),
            version: "v1".into(),
            namespace: Some("a".into()),
            name: Some("a".into()),
            subresource: None,
        };
        let before = with_defaults(resource.kind, before.clone());
        match check(&resource, &before, after) {
            Ok(()) => Vec::new(),
            Err(Failure::Invalid { causes, .. }) => {
                causes.into_iter().map(|cause| cause.field).collect()
            }
            Err(other) => unreachable!("{other}"),
        }
    }

    #[test]
    fn what_selects_pods_does_not_change() {
        let object = |app: &str, replicas: u8| json!({"spec": {"replicas": replicas, "selector": {"matchLabels": {"app": app}}}});
        let of = |after| refused("apps", "deployments", &object("a", 1), &after);
        assert_eq!(of(object("a", 2)), Vec::<String>::new());
        assert_eq!(of(object("b", 1)), ["spec.selector"]);
    }

    #[test]
    fn a_pod_changes_its_image_only() {
        let pod = |image: &str, command: &str| json!({"spec": {"containers": [{"name": "a", "image": image, "command": [command]}]}});
        let of = |after| refused("", "pods", &pod("a:1", "x"), &after);
        assert_eq!(of(pod("a:2", "x")), Vec::<String>::new());
        assert_eq!(of(pod("a:1", "y")), ["spec"]);
    }

    #[test]
    fn a_secret_keeps_its_type() {
        let of = |after| refused("", "secrets", &json!({"type": "Opaque"}), &after);
        assert_eq!(of(json!({"data": {}})), Vec::<String>::new());
        assert_eq!(of(json!({"type": "other"})), ["type"]);
    }

    #[test]
    fn an_address_of_a_service_stays() {
        let service =
            |address: Value| json!({"spec": {"clusterIP": address, "ports": [{"port": 80}]}});
        let of = |after| refused("", "services", &service(json!("10.96.0.7")), &after);
        assert_eq!(of(service(json!("10.96.0.7"))), Vec::<String>::new());
        assert_eq!(of(service(Value::Null)), Vec::<String>::new());
        assert_eq!(of(service(json!("10.96.0.8"))), ["spec.clusterIPs[0]"]);
    }
}
