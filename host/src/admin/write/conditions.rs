//! What the stored objects must be like for a write to be submitted.

use std::sync::Arc;

use galleria_manifest::model::ObjectKey;
use serde_json::Value;

use crate::admin::Api;
use crate::admin::failure::{Cause, Failure};
use crate::admin::kind::Kind;
use crate::admin::path::Resource;
use crate::store::{Source, StoredObject};

use super::dependents::is_marked;

impl Api {
    /// # Errors
    /// It does not exist.
    pub(in crate::admin) fn stored(
        &self,
        resource: &Resource,
        key: &ObjectKey,
    ) -> Result<Arc<StoredObject>, Failure> {
        self.store.get(key).ok_or_else(|| Failure::NotFound {
            kind: resource.kind,
            name: key.name.clone(),
        })
    }

    /// # Errors
    /// The namespace of a new object does not exist and is not in use.
    pub(super) fn check_namespace(&self, resource: &Resource) -> Result<(), Failure> {
        let Some(namespace) = resource.namespace.as_deref() else {
            return Ok(());
        };
        let (all, _) = self.store.list();
        let has_it = |stored: &StoredObject| {
            let object = &stored.object;
            object.metadata.namespace == namespace
                || object.kind == "Namespace" && object.metadata.name.value == namespace
        };
        if namespace == "default" || all.iter().any(|stored| has_it(stored)) {
            return Ok(());
        }
        match Kind::at("", "v1", "namespaces") {
            Some(kind) => Err(Failure::NotFound {
                kind,
                name: namespace.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// Compares the `uid` and `resourceVersion` that a client sends back, if any, with the
/// object's.
///
/// # Errors
/// A conflict: the client has seen another version, or another object of this name. Or a
/// version is missing where one is required.
pub(in crate::admin) fn check_seen(
    resource: &Resource,
    shown: &Value,
    sent: &Value,
) -> Result<(), Failure> {
    let name = text(&shown["metadata"]["name"]);
    if !is_same(shown, sent) {
        return Err(Failure::conflict(resource.kind, &name));
    }
    let has_version = sent["resourceVersion"]
        .as_str()
        .is_some_and(|it| !it.is_empty());
    let is_required = resource.kind.is_custom || resource.kind.kind == "PodDisruptionBudget";
    if is_required && !has_version {
        let message = "must be specified for an update";
        return Err(Failure::InvalidBody {
            group: resource.kind.group,
            kind: resource.kind.plural,
            name,
            causes: vec![Cause::invalid("metadata.resourceVersion", message)],
        });
    }
    Ok(())
}

/// Compares the `uid` and `resourceVersion` of a delete's preconditions, if any, with the
/// object's.
///
/// # Errors
/// It is another object, or another version of it.
pub(in crate::admin) fn check_preconditions(
    resource: &Resource,
    shown: &Value,
    expected: &Value,
) -> Result<(), Failure> {
    match is_same(shown, expected) {
        true => Ok(()),
        false => Err(Failure::Precondition {
            kind: resource.kind,
            name: text(&shown["metadata"]["name"]),
        }),
    }
}

fn is_same(shown: &Value, expected: &Value) -> bool {
    let metadata = &shown["metadata"];
    let agrees = |field: &str| {
        let expected = expected[field].as_str().filter(|text| !text.is_empty());
        expected.is_none_or(|expected| metadata[field].as_str() == Some(expected))
    };
    agrees("uid") && agrees("resourceVersion")
}

/// # Errors
/// The host made the object, and would undo the change.
pub(super) fn check_owner(resource: &Resource, stored: &StoredObject) -> Result<(), Failure> {
    match stored.source {
        Source::Files | Source::Api | Source::Drift => Ok(()),
        Source::Host if resource.kind.is_provided => Ok(()),
        Source::Host => Err(Failure::Forbidden(format!(
            "{} \"{}\" is managed by the host; change its owner instead",
            resource.kind.resource(),
            stored.object.metadata.name.value
        ))),
    }
}

/// # Errors
/// A new object has a version: it was read from another server.
pub(super) fn check_new(object: &Value) -> Result<(), Failure> {
    let version = object["metadata"]["resourceVersion"].as_str();
    match version.is_some_and(|version| !version.is_empty()) {
        true => Err(Failure::BadRequest(
            "resourceVersion should not be set on objects to be created".into(),
        )),
        false => Ok(()),
    }
}

/// # Errors
/// The object is being deleted, and the change adds a finalizer.
pub(super) fn check_finalizers(
    resource: &Resource,
    shown: &Value,
    wanted: &Value,
) -> Result<(), Failure> {
    let finalizers = |object: &Value| {
        let listed = object["metadata"]["finalizers"].as_array();
        listed.cloned().unwrap_or_default()
    };
    let before = finalizers(shown);
    let added = finalizers(wanted);
    let added: Vec<_> = added.iter().filter(|it| !before.contains(it)).collect();
    if !is_marked(shown) || added.is_empty() {
        return Ok(());
    }
    let message = "no new finalizers can be added if the object is being deleted";
    Err(Failure::Invalid {
        kind: resource.kind,
        name: text(&shown["metadata"]["name"]),
        causes: vec![Cause::forbidden("metadata.finalizers", message)],
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
