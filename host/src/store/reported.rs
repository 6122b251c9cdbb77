//! Objects that the host writes about itself: pods and events, in the form in
//! which a cluster's API server gives them.

use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::{Labels, Metadata, Object, Resource};
use galleria_manifest::{Located, Position};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Stored;

/// An object of the host's own, and its status.
#[derive(Debug, Clone)]
pub(crate) struct Reported {
    pub object: Arc<Object>,
    pub status: Value,
}

impl Reported {
    /// Takes identity and labels from `raw`, which holds everything but the status.
    pub(crate) fn new(raw: Value, status: Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &raw["metadata"];
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let at = Position {
            file: Arc::from(Path::new("galleria")),
            line: 0,
            column: 0,
        };
        let metadata = Metadata {
            name: Located::new(text(&metadata["name"]), at.clone()),
            namespace: text(&metadata["namespace"]),
            labels: labels
                .map(|(key, value)| (key.clone(), text(value)))
                .collect::<Labels>(),
            annotations: std::collections::BTreeMap::new(),
            creation_timestamp: metadata["creationTimestamp"].as_str().map(str::to_owned),
        };
        let object = Object {
            api_version: text(&raw["apiVersion"]),
            kind: text(&raw["kind"]),
            metadata,
            at,
            raw,
            resource: Resource::LeftToCluster,
        };
        Self {
            object: Arc::new(object),
            status,
        }
    }
}

impl Stored {
    /// The whole object, as `kubectl get -o json` shows one.
    pub(crate) fn to_json(&self) -> Value {
        let mut json = self.object.raw.clone();
        json["metadata"]["resourceVersion"] = self.resource_version.to_string().into();
        if !self.status.is_null() {
            json["status"] = self.status.clone();
        }
        json
    }
}

/// An object's `metadata.uid`: the same for the same kind, namespace and name,
/// so that owners can be named before they are written, and after a restart.
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
    // Version 8, "made in a way of one's own", of RFC 9562's variant.
    format!("{a}-{b}-8{c}-8{d}-{e}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_uuids_and_tell_objects_apart() {
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
        let reported = Reported::new(raw, Value::Null);
        assert_eq!(reported.object.key().to_string(), "Pod shop/a");
        assert_eq!(reported.object.metadata.labels["app"], "ui");
    }
}
