//! ConfigMaps and Secrets with `immutable: true`: neither their data nor `immutable` can
//! change until the object is deleted.

use std::sync::Arc;

use galleria_manifest::model::{Object, Resource};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::Store;

/// An error for each of `objects` that changes an immutable object of the store.
pub(crate) fn changes(store: &Store, objects: &[Arc<Object>]) -> Vec<Diagnostic> {
    let problem = |object: &Object| Diagnostic {
        at: object.at.clone(),
        severity: Severity::Error,
        object: Some(format!("{}/{}", object.kind, object.metadata.name)),
        path: "immutable".into(),
        message: "the data of an immutable object cannot change; give the new data a new name, or \
                  delete the object first"
            .into(),
        code: codes::INVALID_VALUE,
        unenforced: None,
    };
    let changed = |object: &&Arc<Object>| {
        let before = store.get(&object.key());
        before.is_some_and(|before| differs(&before.object.resource, &object.resource))
    };
    let objects = objects.iter().filter(changed);
    objects.map(|object| problem(object)).collect()
}

fn differs(before: &Resource, after: &Resource) -> bool {
    match (before, after) {
        (Resource::ConfigMap(before), Resource::ConfigMap(after)) => {
            before.immutable
                && !(after.immutable
                    && before.data == after.data
                    && before.binary_data == after.binary_data)
        }
        (Resource::Secret(before), Resource::Secret(after)) => {
            before.immutable && !(after.immutable && before.data == after.data)
        }
        _ => false,
    }
}
