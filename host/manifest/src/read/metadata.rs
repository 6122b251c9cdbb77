//! `metadata`: name, namespace, labels, annotations.

use std::collections::BTreeMap;

use super::known::Known;
use crate::decode::{
    Decoder, Fields, dns_label, dns_subdomain, is_qualified_name, labels, located_text, map,
    non_empty, string,
};
use crate::model::{Labels, Metadata, OwnerReference};
use crate::yaml::{Node, Value};
use crate::{WithPosition, codes};

/// `kubectl apply` stores the whole manifest here, with the values of a Secret.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) fn read(fields: &mut Fields<'_, '_>, known: &Known) -> Option<Metadata> {
    let is_enforced = matches!(known, Known::Enforced(..));
    fields.required("metadata", |d, node| {
        let mut metadata = Fields::of(d, node)?;
        let name = name(&mut metadata, known);
        let namespace = metadata.optional("namespace", dns_label);
        let labels = metadata.optional("labels", labels).unwrap_or_default();
        let annotations = metadata
            .optional("annotations", annotations)
            .unwrap_or_default();
        let creation_timestamp = metadata.optional("creationTimestamp", string);
        let uid = metadata.take("uid").and_then(Node::as_text);
        let owner = metadata.take("ownerReferences").and_then(owner);
        // Set by a cluster; part of the output of `kubectl get -o yaml`.
        metadata.ignore(&[
            "resourceVersion",
            "generation",
            "managedFields",
            "selfLink",
            "generateName",
            "finalizers",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "clusterName",
        ]);
        if is_enforced {
            metadata.finish(&[]);
        }
        let namespace = if known.namespaced() {
            namespace.unwrap_or_else(|| "default".to_owned())
        } else {
            String::new()
        };
        Some(Metadata {
            name: name?,
            namespace,
            labels,
            annotations,
            uid: uid.map(str::to_owned),
            owner,
            creation_timestamp,
        })
    })
}

fn name(metadata: &mut Fields<'_, '_>, known: &Known) -> Option<WithPosition<String>> {
    if !metadata.has("name") && metadata.has("generateName") {
        if let Known::NotEnforced { .. } = known {
            return metadata.optional("generateName", located_text);
        }
        let message = "generateName needs a cluster's API; give the object a `name`".to_owned();
        metadata.error_at("generateName", codes::NAME, message);
        return None;
    }
    let read: fn(&mut Decoder, &Node) -> Option<String> = match known {
        Known::Enforced(kind, _) if kind.is_named_by_label => dns_label,
        Known::Enforced(..) => dns_subdomain,
        // Some kinds allow other names, such as `system:masters` of RBAC.
        _ => non_empty,
    };
    metadata.required("name", |d, node| {
        read(d, node).map(|name| d.locate(name, node))
    })
}

/// The first owner. A cluster writes these references, so they are not checked.
fn owner(references: &Node) -> Option<OwnerReference> {
    let Value::Sequence(references) = &references.value else {
        return None;
    };
    let first = references.first()?;
    let text = |field| first.get(field).and_then(Node::as_text).map(str::to_owned);
    Some(OwnerReference {
        kind: text("kind")?,
        name: text("name")?,
    })
}

/// Annotations, without the copy of the manifest that kubectl stores in one.
pub(super) fn annotations(
    d: &mut Decoder,
    node: &Node,
) -> Option<BTreeMap<String, WithPosition<String>>> {
    let mut annotations = map(d, node, |d, key, value| {
        // As in a cluster, which does not distinguish the case of annotations.
        if !is_qualified_name(&key.to_ascii_lowercase()) {
            let shown = d.show(key);
            let message = format!(
                "{shown} is not a key of an annotation; use [prefix/]name of letters, digits, `-`, \
                 `_`, `.`, at most 63"
            );
            d.error(value.mark, codes::INVALID_VALUE, message);
        }
        located_text(d, value)
    })?;
    annotations.remove(LAST_APPLIED);
    Some(annotations)
}

/// `metadata` of a pod template, which has no name of its own.
pub(super) fn template(
    d: &mut Decoder,
    node: &Node,
) -> Option<(Labels, BTreeMap<String, WithPosition<String>>)> {
    let mut metadata = Fields::of(d, node)?;
    let labels = metadata.optional("labels", labels).unwrap_or_default();
    let annotations = metadata
        .optional("annotations", annotations)
        .unwrap_or_default();
    metadata.ignore(&["creationTimestamp", "name", "namespace"]);
    metadata.finish(&["finalizers", "ownerReferences"]);
    Some((labels, annotations))
}
