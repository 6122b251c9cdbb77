//! The managers of an object: `metadata.managedFields`, in the form `FieldsV1`.

use serde_json::{Value, json};

use super::paths::Paths;
use crate::admin::kind::Kind;

/// Managers of one object that are stored; the one with the oldest change is dropped first.
const MANAGERS_MAX: usize = 50;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// A client with the fields that it set by one operation.
#[derive(Debug, Clone)]
pub(super) struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    pub time: String,
    pub paths: Paths,
}

/// The managers of one object, the one with the newest change last.
#[derive(Debug, Default)]
pub(super) struct Managers(pub Vec<Manager>);

impl Manager {
    /// As messages about conflicts name it.
    pub(super) fn described(&self) -> String {
        format!("\"{}\" using {}", self.name, self.api_version)
    }
}

impl Managers {
    /// Reads `metadata.managedFields`; entries that do not parse are ignored.
    pub(super) fn of(object: &Value) -> Self {
        let listed = object["metadata"]["managedFields"].as_array();
        let read = |entry: &Value| {
            let text = |field: &str| entry[field].as_str().map(str::to_owned);
            let operation = match entry["operation"].as_str()? {
                "Apply" => Operation::Apply,
                _ => Operation::Update,
            };
            Some(Manager {
                name: text("manager")?,
                operation,
                api_version: text("apiVersion")?,
                time: text("time").unwrap_or_default(),
                paths: Paths::from_json(&entry["fieldsV1"]),
            })
        };
        Self(listed.into_iter().flatten().filter_map(read).collect())
    }

    /// The managers that a client wants an object to have: those that it sends, or those of
    /// `before`, the object that it changes. A single empty entry forgets all of them.
    pub(super) fn wanted(object: &Value, before: &Value) -> Self {
        let sent = &object["metadata"]["managedFields"];
        if *sent == json!([{}]) {
            return Self::default();
        }
        let sent = Self::of(object);
        match sent.0.is_empty() {
            true => Self::of(before),
            false => sent,
        }
    }

    /// Gives the fields of an object without managers to one manager, for all earlier
    /// changes.
    pub(super) fn note_earlier(&mut self, shown: &Value, kind: &Kind, version: &str) {
        if !self.0.is_empty() {
            return;
        }
        self.0.push(Manager {
            name: "before-first-apply".to_owned(),
            operation: Operation::Update,
            api_version: version.to_owned(),
            time: super::now_text(),
            paths: Paths::of(shown, kind),
        });
    }

    /// Adds `paths` to the fields of `manager`, which is then the newest.
    pub(super) fn add(&mut self, mut manager: Manager, paths: &Paths) {
        let same = |it: &Manager| it.name == manager.name && it.operation == manager.operation;
        if let Some(before) = self.take(same) {
            manager.paths = before;
        }
        manager.paths.extend(paths);
        self.0.push(manager);
        let too_many = self.0.len().saturating_sub(MANAGERS_MAX);
        self.0.drain(..too_many);
    }

    /// Removes a manager and returns its fields.
    pub(super) fn take(&mut self, which: impl Fn(&Manager) -> bool) -> Option<Paths> {
        let place = self.0.iter().position(which)?;
        Some(self.0.remove(place).paths)
    }

    /// Writes `metadata.managedFields`.
    pub(super) fn write(&self, object: &mut Value) {
        let managers = self.0.iter().filter(|it| !it.paths.is_empty());
        let listed: Vec<_> = managers
            .map(|it| {
                json!({
                    "manager": it.name,
                    "operation": match it.operation {
                        Operation::Apply => "Apply",
                        Operation::Update => "Update",
                    },
                    "apiVersion": it.api_version,
                    "time": it.time,
                    "fieldsType": "FieldsV1",
                    "fieldsV1": it.paths.to_json(),
                })
            })
            .collect();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            match listed.is_empty() {
                true => metadata.remove("managedFields"),
                false => metadata.insert("managedFields".into(), listed.into()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_fields_that_do_not_parse_are_ignored() {
        for malformed in [
            json!(7),
            json!([7, {"operation": "Apply"}]),
            json!([{
                "manager": "m", "operation": "Apply", "apiVersion": "v1",
                "fieldsV1": {"f:spec": {"k:[": {}, "x": {}, "f:a": 7}},
            }]),
        ] {
            let object = json!({"metadata": {"managedFields": malformed}, "spec": {"a": [1]}});
            let mut managers = Managers::of(&object);
            let mut changed = object.clone();
            if let Some(paths) = managers.take(|_| true) {
                paths.remove_from(&mut changed);
                assert_eq!(changed["spec"], json!({}));
            }
        }
    }
}
