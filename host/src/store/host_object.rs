//! Objects that the host writes about itself, such as pods and events, in the form of a
//! cluster's API server.

use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::{Labels, Metadata, Object, OwnerReference, Resource};
use galleria_manifest::{Position, WithPosition};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Source, StoredObject};

/// An object of the host itself, and its status.
#[derive(Debug, Clone)]
pub(crate) struct HostObject {
    pub object: Arc<Object>,
    pub status: Value,
}

impl HostObject {
    /// Takes identity and labels from `raw`, the object without its status.
    pub(crate) fn new(raw: Value, status: Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &raw["metadata"];
        let owner = &metadata["ownerReferences"][0];
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let at = Position {
            file: Arc::from(Path::new("galleria")),
            line: 0,
            column: 0,
        };
        let metadata = Metadata {
            name: WithPosition::new(text(&metadata["name"]), at.clone()),
            namespace: text(&metadata["namespace"]),
            labels: labels
                .map(|(key, value)| (key.clone(), text(value)))
                .collect::<Labels>(),
            annotations: std::collections::BTreeMap::new(),
            uid: metadata["uid"].as_str().map(str::to_owned),
            owner: owner.is_object().then(|| OwnerReference {
                kind: text(&owner["kind"]),
                name: text(&owner["name"]),
            }),
            creation_timestamp: metadata["creationTimestamp"].as_str().map(str::to_owned),
        };
        let object = Object {
            api_version: text(&raw["apiVersion"]),
            kind: text(&raw["kind"]),
            metadata,
            at,
            raw,
            resource: Resource::NotEnforced,
        };
        Self {
            object: Arc::new(object),
            status,
        }
    }
}

/// The kind and the name of the owner of an object; empty if it has none.
pub(crate) fn owner_of(object: &Object) -> (&str, &str) {
    match &object.metadata.owner {
        Some(owner) => (&owner.kind, &owner.name),
        None => ("", ""),
    }
}

impl StoredObject {
    /// An object that is not in the store, or that replaces `before` there.
    pub(crate) fn unwritten(object: Arc<Object>, before: Option<&Self>) -> Self {
        Self {
            source: before.map_or(Source::Api, |it| it.source),
            resource_version: before.map_or(0, |it| it.resource_version),
            generation: before.map_or(1, |it| it.generation_with(&object)),
            created: before.map_or_else(Timestamp::now, |it| it.created),
            status: before.map_or(Value::Null, |it| it.status.clone()),
            object,
        }
    }

    /// The `metadata.generation` after this object is replaced by `object`: one more if
    /// something else is desired, also if that is its end.
    pub(crate) fn generation_with(&self, object: &Object) -> u64 {
        let (before, after) = (&self.object.raw, &object.raw);
        let metadata = |raw: &Value, field: &str| raw["metadata"].get(field).cloned();
        let differs = |field| metadata(before, field) != metadata(after, field);
        let is_new = !differs_in_metadata_only(before, after)
            || object.kind == "Deployment" && differs("annotations")
            || differs("deletionTimestamp");
        self.generation + u64::from(is_new)
    }

    /// The complete object, as `kubectl get -o json` shows it.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.object.raw.clone();
        // An object that was not written has no version.
        if self.resource_version != 0 {
            json["metadata"]["resourceVersion"] = self.resource_version.to_string().into();
        }
        if !self.status.is_null() {
            json["status"] = self.status.clone();
        }
        json
    }
}

/// The `metadata.uid` of an object, derived from its kind, namespace and name: an owner
/// can be named before it is written, and after a restart.
pub(crate) fn uid(kind: &str, namespace: &str, name: &str) -> String {
    let digest = Sha256::digest(format!("{kind}/{namespace}/{name}"));
    let hex: String = digest.iter().take(16).fold(String::new(), |mut hex, byte| {
        use std::fmt::Write;
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..],
    );
    // UUID version 8 of RFC 9562: custom content.
    format!("{a}-{b}-8{c}-8{d}-{e}")
}

/// The `metadata.uid` of an object, or the one that the API shows if it has none.
pub(crate) fn uid_of(object: &Object) -> String {
    match &object.metadata.uid {
        Some(uid) => uid.clone(),
        None => {
            let Metadata {
                name, namespace, ..
            } = &object.metadata;
            uid(&object.kind, namespace, &name.value)
        }
    }
}

/// A new random `metadata.uid`.
pub(crate) fn fresh_uid() -> String {
    Uuid::new_v4().to_string()
}

/// Whether two versions of an object differ at most in metadata and status.
fn differs_in_metadata_only(before: &Value, after: &Value) -> bool {
    let desired = |raw: &Value| {
        let fields = raw.as_object().into_iter().flatten();
        let fields = fields.filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"));
        fields
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<serde_json::Map<_, _>>()
    };
    desired(before) == desired(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_uuids_and_distinguish_objects() {
        let first = uid("Pod", "shop", "ui-1");
        let lengths: Vec<_> = first.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{first}");
        assert_eq!(first, uid("Pod", "shop", "ui-1"));
        assert_ne!(first, uid("Pod", "shop", "ui-2"));
    }

    #[test]
    fn identity_and_labels_come_from_the_object() {
        let raw = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "a", "namespace": "shop", "labels": {"app": "ui"}},
        });
        let reported = HostObject::new(raw, Value::Null);
        assert_eq!(reported.object.key().to_string(), "Pod shop/a");
        assert_eq!(reported.object.metadata.labels["app"], "ui");
    }
}
