//! The way to the control loop, which applies a write as a whole or refuses it.

use galleria_manifest::codes::UNKNOWN_FIELD;
use galleria_manifest::model::ObjectKey;
use serde_json::Value;

use super::WriteOptions;
use crate::admin::Api;
use crate::admin::failure::Failure;
use crate::admin::path::Resource;
use crate::store::{ReadObject, read_object};
use crate::writes::{Command, Edit, WriteError};

impl Api {
    pub(super) async fn submit(&self, edits: Vec<Edit>, dry_run: bool) -> Result<(), WriteError> {
        self.writer.send(Command::Edits { edits, dry_run }).await
    }

    /// Reads `object` as the reader of manifests does.
    ///
    /// # Errors
    /// It is invalid, or has unknown fields and the client wants strict validation.
    pub(super) fn read_object(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        options: &WriteOptions,
        object: &Value,
    ) -> Result<ReadObject, Failure> {
        let read = read_object(key, object, &self.allowed).map_err(|problems| {
            Failure::of_object(resource.kind, &key.name, &problems, options.is_patch)
        })?;
        let unknown: Vec<_> = read
            .warnings
            .iter()
            .filter(|it| it.code == UNKNOWN_FIELD)
            .map(|it| format!("unknown field \"{}\"", it.path))
            .collect();
        if options.is_strict() && !unknown.is_empty() {
            let message = format!("strict decoding error: {}", unknown.join(", "));
            return Err(match options.is_patch {
                true => Failure::patch(message),
                false => Failure::BadRequest(message),
            });
        }
        Ok(read)
    }
}
