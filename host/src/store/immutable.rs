//! ConfigMaps and Secrets with `immutable: true`: neither their data nor `immutable` can
//! change until the object is deleted.

use std::sync::Arc;

use galleria_manifest::model::{Object, Resource};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::Store;

/// An error for each of `objects` that changes an immutable object of the store.
pub(crate) fn changes(store: &Store, objects: &[Arc<Object>]) -> Vec<Diagnostic> {
    let problem = |object: &Arc<Object>| {
        let before = store.get(&object.key())?;
        let field = changed(&before.object.resource, &object.resource)?;
        Some(Diagnostic {
            at: object.at.clone(),
            severity: Severity::Error,
            object: Some(format!("{}/{}", object.kind, object.metadata.name)),
            path: field.into(),
            message:
                "the data of an immutable object cannot change; give the new data a new name, \
                      or delete the object first"
                    .into(),
            code: codes::INVALID_VALUE,
            unenforced: None,
        })
    };
    objects.iter().filter_map(problem).collect()
}

/// The field that changes although the object is immutable.
fn changed(before: &Resource, after: &Resource) -> Option<&'static str> {
    let first = |fields: &[(&'static str, bool)]| {
        let mut changed = fields.iter().filter(|(_, is_same)| !is_same);
        changed.next().map(|(field, _)| *field)
    };
    match (before, after) {
        (Resource::ConfigMap(before), Resource::ConfigMap(after)) if before.immutable => first(&[
            ("immutable", after.immutable),
            ("data", before.data == after.data),
            ("binaryData", before.binary_data == after.binary_data),
        ]),
        (Resource::Secret(before), Resource::Secret(after)) if before.immutable => first(&[
            ("immutable", after.immutable),
            ("data", before.data == after.data),
        ]),
        _ => None,
    }
}
