//! The rules for metadata that files need not keep: finalizers, owners, and the uid.

use serde_json::Value;

use super::WriteOptions;
use crate::admin::failure::{Cause, Failure};
use crate::admin::kind::api_version;
use crate::admin::path::Resource;

/// Finalizers without a domain that Kubernetes itself defines.
const STANDARD: &[&str] = &["foregroundDeletion", "kubernetes", "orphan"];

/// Checks the metadata of an object that a client writes.
///
/// # Errors
/// A finalizer or an owner is not valid.
pub(super) fn check(resource: &Resource, object: &Value) -> Result<(), Failure> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
    for (index, finalizer) in finalizers.enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !STANDARD.contains(&name) {
            let message = format!(
                "Invalid value: {name:?}: name is neither a standard finalizer name nor is it fully \
                 qualified; write it as `example.com/name`"
            );
            let field = format!("metadata.finalizers[{index}]");
            causes.push(Cause::invalid(&field, message));
        }
    }
    let owners = metadata["ownerReferences"].as_array();
    let owners = owners.map_or(&[][..], Vec::as_slice);
    for (index, owner) in owners.iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner[field].as_str().is_none_or(str::is_empty) {
                let field = format!("metadata.ownerReferences[{index}].{field}");
                causes.push(Cause::required(&field, "Required value: must not be empty"));
            }
        }
    }
    let controllers = owners.iter().filter(|owner| owner["controller"] == true);
    if controllers.count() > 1 {
        let message = "only one reference can have controller set to true";
        causes.push(Cause::invalid("metadata.ownerReferences", message));
    }
    refuse(resource, object, causes)
}

/// Checks a patch, which may change neither what the object is nor its uid.
///
/// # Errors
/// It does.
pub(super) fn check_patch(
    resource: &Resource,
    options: &WriteOptions,
    shown: &Value,
    wanted: &Value,
) -> Result<(), Failure> {
    if !options.is_patch {
        return Ok(());
    }
    let version = api_version(resource.kind.group, &resource.version);
    for (field, expected) in [
        ("kind", resource.kind.kind),
        ("apiVersion", version.as_str()),
    ] {
        if wanted[field] != *expected {
            return Err(Failure::patch(format!(
                "{field} of the object must stay `{expected}`"
            )));
        }
    }
    let (before, after) = (&shown["metadata"]["uid"], &wanted["metadata"]["uid"]);
    let mut causes = Vec::new();
    if !after.is_null() && before != after {
        causes.push(Cause::invalid("metadata.uid", "field is immutable"));
    }
    refuse(resource, shown, causes)
}

fn refuse(resource: &Resource, object: &Value, causes: Vec<Cause>) -> Result<(), Failure> {
    if causes.is_empty() {
        return Ok(());
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Err(Failure::Invalid {
        kind: resource.kind,
        name: name.to_owned(),
        causes,
    })
}
