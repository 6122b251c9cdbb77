//! The response to a write: the object, and warnings.

use axum::body::Body;
use galleria_manifest::Severity;
use galleria_manifest::model::ObjectKey;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::admin::Api;
use crate::admin::answer::json;
use crate::admin::object::shown;
use crate::admin::path::Resource;
use crate::store::{ReadObject, StoredObject};

/// An object after a write.
pub(in crate::admin) struct WriteResult {
    pub object: Value,
    pub warnings: Vec<String>,
    pub is_new: bool,
}

impl Api {
    /// The result of a write that was applied, or of a dry run, of an object that was `before`.
    pub(super) fn written(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        read: &ReadObject,
        before: Option<&StoredObject>,
    ) -> WriteResult {
        let now = self.store.get(key);
        let applied = now.as_ref().filter(|it| it.object.raw == read.object.raw);
        let stored = match applied {
            Some(stored) => StoredObject::clone(stored),
            // A dry run, or the end of an object that has lost its last finalizer.
            None => StoredObject::unwritten(read.object.clone(), now.as_deref().or(before)),
        };
        let warnings = read.warnings.iter();
        let warnings = warnings.filter(|it| it.severity == Severity::Warning);
        WriteResult {
            object: shown(&stored, resource.kind, &resource.version),
            warnings: warnings
                .map(|it| format!("{}: {}", it.path, it.message))
                .collect(),
            is_new: before.is_none(),
        }
    }
}

/// Warnings are headers, which kubectl prints.
pub(super) fn answer(written: WriteResult) -> Response<Body> {
    let mut response = json(&written.object);
    if written.is_new {
        *response.status_mut() = StatusCode::CREATED;
    }
    for warning in written.warnings {
        let plain = warning
            .replace(['\\', '"'], "'")
            .replace(|c: char| !c.is_ascii_graphic() && c != ' ', "?");
        if let Ok(value) = HeaderValue::try_from(format!("299 - \"{plain}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
