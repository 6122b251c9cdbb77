//! Objects that come through the API: how they are read, and what messages name as
//! their file.

use std::path::Path;
use std::sync::Arc;

use galleria_manifest::model::{Object, ObjectKey};
use galleria_manifest::{AllowUnenforced, Diagnostic, Severity};
use serde_json::Value;

/// The first component of every [`place`].
const API: &str = "api";

/// Whether `file` is the [`place`] of an object from the API.
pub(crate) fn is_place(file: &Path) -> bool {
    file.starts_with(API)
}

/// What messages name as the file of an object from the API.
pub(crate) fn place(key: &ObjectKey) -> String {
    let parts = [API, &key.group, &key.namespace, &key.kind, &key.name];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

/// Reads the JSON of an object from the API, with the restrictions of `allowed`.
///
/// # Errors
/// The diagnostics of an invalid object.
pub(crate) fn read_object(
    key: &ObjectKey,
    raw: &Value,
    allowed: &AllowUnenforced,
) -> Result<ReadObject, Vec<Diagnostic>> {
    let read = galleria_manifest::read_json(Path::new(&place(key)), raw).allowing(allowed);
    let is_error = |it: &Diagnostic| it.severity == Severity::Error;
    match read.objects.first() {
        Some(object) if !read.diagnostics.iter().any(is_error) => Ok(ReadObject {
            object: object.clone(),
            warnings: read.diagnostics,
        }),
        _ => Err(read.diagnostics),
    }
}

/// A valid object and its warnings.
#[derive(Debug)]
pub(crate) struct ReadObject {
    pub object: Arc<Object>,
    pub warnings: Vec<Diagnostic>,
}
