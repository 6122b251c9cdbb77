//! An object as the API shows it: in the requested version, with the metadata and the
//! defaults that an API server adds.

mod defaults;
pub(super) mod versions;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use galleria_manifest::model::{Object, Resource};
use serde_json::{Map, Value, json};

use super::kind::Kind;
use crate::store::{Source, StoredObject, uid};

/// The annotation of an object in a file that was changed by the API.
pub(super) const DRIFT: &str = "galleria.dev/drift";

/// Kinds with a `spec` whose changes are not counted.
const WITHOUT_GENERATION: &[&str] = &[
    "LimitRange",
    "Namespace",
    "PersistentVolumeClaim",
    "ResourceQuota",
    "Service",
];

/// `stored` in `version` of its kind.
pub(super) fn shown(stored: &StoredObject, kind: &Kind, version: &str) -> Value {
    let mut json = stored.to_json();
    if kind.kind == "HorizontalPodAutoscaler" {
        defaults::metric(&mut json);
    }
    versions::convert(&mut json, kind, version);
    json["kind"] = kind.kind.into();
    let object = &stored.object;
    let metadata = &mut json["metadata"];
    if kind.namespaced {
        metadata["namespace"] = object.metadata.namespace.clone().into();
    }
    if metadata["uid"].is_null() {
        let (namespace, name) = (&object.metadata.namespace, &object.metadata.name.value);
        metadata["uid"] = uid(kind.kind, namespace, name).into();
    }
    if metadata["creationTimestamp"].is_null() {
        metadata["creationTimestamp"] = format!("{:.0}", stored.created).into();
    }
    let counts = !WITHOUT_GENERATION.contains(&kind.kind);
    if counts && metadata["generation"].is_null() && !json["spec"].is_null() {
        json["metadata"]["generation"] = stored.generation.into();
    }
    encode_secret(object, &mut json);
    show_binding(&mut json);
    if stored.source == Source::Drift {
        json["metadata"]["annotations"][DRIFT] = "the object differs from its file".into();
    }
    defaults::fill_in(kind.kind, &mut json);
    if json["status"].is_null()
        && let Some(status) = first_status(kind.kind, &json)
    {
        json["status"] = status;
    }
    json
}

/// The status of an object that has none yet.
fn first_status(kind: &str, object: &Value) -> Option<Value> {
    match kind {
        "Namespace" if object["metadata"]["deletionTimestamp"].is_null() => {
            Some(json!({"phase": "Active"}))
        }
        "Namespace" => Some(json!({"phase": "Terminating"})),
        "Service" | "Ingress" => Some(json!({"loadBalancer": {}})),
        _ => None,
    }
}

/// Moves what a claim or a volume is bound to from the `status`, where the host keeps it, to
/// the `spec`.
fn show_binding(json: &mut Value) {
    let status = json.get_mut("status").and_then(Value::as_object_mut);
    let binding = status.and_then(|status| status.remove("binding"));
    let spec = json.get_mut("spec").and_then(Value::as_object_mut);
    if let (Some(Value::Object(binding)), Some(spec)) = (binding, spec) {
        spec.extend(binding);
    }
}

/// `object` with the defaults of its kind.
pub(super) fn with_defaults(kind: &Kind, mut object: Value) -> Value {
    defaults::fill_in(kind.kind, &mut object);
    object
}

/// Moves a Secret's plain values to `data`, encoded.
pub(super) fn encode_secret(object: &Object, json: &mut Value) {
    let Resource::Secret(secret) = &object.resource else {
        return;
    };
    json["type"] = secret.secret_type.clone().into();
    let data = secret.data.iter();
    let data = data.map(|(key, value)| (key.clone(), STANDARD.encode(value.expose()).into()));
    json["data"] = Value::Object(data.collect::<Map<_, _>>());
    if let Some(fields) = json.as_object_mut() {
        fields.remove("stringData");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Store;

    fn object(yaml: &str, group: &str, version: &str, plural: &str) -> Value {
        let store = Store::after(41);
        let read = galleria_manifest::read_str("test.yaml".as_ref(), yaml);
        store.replace_all(read.objects.iter().map(|object| (Source::Files, object)));
        let (stored, _) = store.list();
        let kind = Kind::at(group, version, plural).expect("a kind");
        let stored: &Arc<StoredObject> = stored.first().expect("an object");
        shown(stored, kind, version)
    }

    #[test]
    fn metadata_is_complete_and_the_version_is_the_requested_one() {
        let yaml = "apiVersion: networking.istio.io/v1alpha3\nkind: DestinationRule\n\
                    metadata: {name: a}\nspec: {host: b}\n";
        let json = object(yaml, "networking.istio.io", "v1", "destinationrules");
        assert_eq!(json["apiVersion"], "networking.istio.io/v1");
        let metadata = &json["metadata"];
        assert_eq!(metadata["namespace"], "default");
        assert_eq!(metadata["resourceVersion"], "42");
        assert_eq!(metadata["generation"], 1);
        assert_eq!(metadata["uid"], uid("DestinationRule", "default", "a"));
        let created = metadata["creationTimestamp"].as_str().expect("a time");
        assert!(created.ends_with('Z') && created.len() == 20, "{created}");
    }

    #[test]
    fn plain_values_of_a_secret_are_encoded() {
        let yaml = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n\
                    data: {a: b25l}\nstringData: {b: two}\n";
        let json = object(yaml, "", "v1", "secrets");
        assert_eq!(json["data"]["a"], "b25l");
        assert_eq!(json["data"]["b"], "dHdv");
        assert_eq!(json["type"], "Opaque");
        assert!(json.get("stringData").is_none());
        assert!(json["metadata"].get("generation").is_none());
    }
}
