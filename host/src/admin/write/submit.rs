//! The way to the control loop, which applies a write as a whole or refuses it.

use galleria_manifest::Diagnostic;
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

    /// Reads `object` as the reader of manifests does, without the fields that its kind does not
    /// have.
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
        let read = |object| {
            read_object(key, object, &self.allowed).map_err(|problems| {
                Failure::of_object(resource.kind, &key.name, &problems, options.is_patch)
            })
        };
        let mut known = read(object)?;
        let unknown = unknown(&known.warnings);
        if unknown.is_empty() {
            return Ok(known);
        }
        if options.is_strict() {
            let message = format!("strict decoding error: {}", named(&unknown));
            return Err(match options.is_patch {
                true => Failure::patch(message),
                false => Failure::BadRequest(message),
            });
        }
        let mut pruned = object.clone();
        for path in &unknown {
            prune(&mut pruned, path);
        }
        known.object = read(&pruned)?.object;
        Ok(known)
    }

    /// Checks the part of an object that a client applies.
    ///
    /// # Errors
    /// It has fields that its kind does not have: no manager could own them.
    pub(in crate::admin) fn check_applied(
        &self,
        key: &ObjectKey,
        part: &Value,
    ) -> Result<(), Failure> {
        let problems = match read_object(key, part, &self.allowed) {
            Ok(read) => read.warnings,
            Err(problems) => problems,
        };
        match unknown(&problems) {
            unknown if unknown.is_empty() => Ok(()),
            unknown => Err(Failure::BadRequest(format!(
                "cannot apply the object: {}",
                named(&unknown)
            ))),
        }
    }
}

/// The paths of the fields that a kind does not have.
fn unknown(problems: &[Diagnostic]) -> Vec<String> {
    let unknown = problems.iter().filter(|it| it.code == UNKNOWN_FIELD);
    unknown.map(|it| it.path.clone()).collect()
}

fn named(unknown: &[String]) -> String {
    let named = unknown.iter().map(|path| format!("unknown field {path:?}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Removes the field at a path such as `spec.containers[0].unknown` or `data["a b"]`.
fn prune(object: &mut Value, path: &str) {
    let (parent, field) = match path
        .strip_suffix("\"]")
        .and_then(|it| it.rsplit_once("[\""))
    {
        Some(parts) => parts,
        None => path.rsplit_once('.').unwrap_or(("", path)),
    };
    let mut steps = parent.split(['.', '[']).filter(|step| !step.is_empty());
    let place = steps.try_fold(object, |place, step| match step.strip_suffix(']') {
        Some(index) => match index.parse::<usize>() {
            Ok(index) => place.get_mut(index),
            Err(_) => place.get_mut(index.trim_matches('"')),
        },
        None => place.get_mut(step),
    });
    if let Some(Value::Object(fields)) = place {
        fields.remove(field);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_fields_are_removed_where_they_are() {
        let mut object = json!({
            "unknown": 1,
            "spec": {"containers": [{}, {"name": "a", "unknown": {"a": "b"}}], "odd name": 1},
        });
        for path in [
            "unknown",
            "spec.containers[1].unknown",
            "spec[\"odd name\"]",
            "none.at.all",
        ] {
            prune(&mut object, path);
        }
        assert_eq!(object, json!({"spec": {"containers": [{}, {"name": "a"}]}}));
    }
}
