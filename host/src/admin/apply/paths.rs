//! Sets of fields, each a path as `FieldsV1` writes it.

mod step;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::admin::kind::Kind;
use crate::admin::patch::strategic::key_of;
use step::{at, is_key};

/// Fields of `metadata` that have no manager: they name the object, or the host sets them.
const UNMANAGED: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "generation",
    "generateName",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "ownerReferences",
];

/// Paths to fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paths(BTreeSet<Vec<String>>);

impl Paths {
    /// The paths to all fields of `object`.
    pub(super) fn of(object: &Value, kind: &Kind) -> Self {
        let mut paths = Self::default();
        let Some(fields) = object.as_object() else {
            return paths;
        };
        let lists_merge = !kind.is_custom;
        for (name, value) in fields {
            match name.as_str() {
                "apiVersion" | "kind" | "status" => {}
                "metadata" => {
                    let fields = value.as_object().into_iter().flatten();
                    for (field, value) in fields.filter(|it| !UNMANAGED.contains(&it.0.as_str())) {
                        let mut path = vec!["f:metadata".to_owned(), format!("f:{field}")];
                        paths.collect(field, value, lists_merge, &mut path);
                    }
                }
                _ => paths.collect(name, value, lists_merge, &mut vec![format!("f:{name}")]),
            }
        }
        paths
    }

    fn collect(&mut self, name: &str, value: &Value, lists_merge: bool, path: &mut Vec<String>) {
        let key = match value {
            Value::Array(entries) if lists_merge => key_of(name, entries),
            _ => None,
        };
        match (value, key) {
            (Value::Object(fields), _) if !fields.is_empty() => {
                for (name, value) in fields {
                    path.push(format!("f:{name}"));
                    self.collect(name, value, lists_merge, path);
                    path.pop();
                }
            }
            (Value::Array(entries), Some(key)) => {
                for entry in entries.iter().filter(|entry| entry.get(key).is_some()) {
                    path.push(format!("k:{}", json!({ key: entry[key] })));
                    path.push(".".to_owned());
                    self.0.insert(path.clone());
                    path.pop();
                    self.collect("", entry, lists_merge, path);
                    path.pop();
                }
            }
            _ => {
                self.0.insert(path.clone());
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    pub(super) fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Those whose values differ between both. The entry of a list itself has no value,
    /// only its presence counts.
    pub(super) fn differing(&self, a: &Value, b: &Value) -> Self {
        let differs = |path: &&Vec<String>| match path.last().map(String::as_str) {
            Some(".") => at(a, path).is_some() != at(b, path).is_some(),
            _ => at(a, path) != at(b, path),
        };
        Self(self.0.iter().filter(differs).cloned().collect())
    }

    /// Removes the fields from `object`, and each entry of which only the key remains.
    pub(super) fn remove_from(&self, object: &mut Value) {
        // The longest first, and the entry itself last: its fields have to be removed
        // before it.
        let mut paths: Vec<_> = self.0.iter().filter(|path| !is_key(path)).collect();
        let is_entry = |path: &[String]| path.last().is_some_and(|step| step == ".");
        paths.sort_by_key(|path| (std::cmp::Reverse(path.len()), is_entry(path)));
        for path in paths {
            step::remove(object, path);
        }
    }

    /// As in messages: `.spec.replicas`.
    pub(super) fn shown(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|path| {
            let step = |step: &String| match step.split_once(':') {
                Some(("f", name)) => format!(".{name}"),
                Some((_, key)) => {
                    let key = key.trim_matches(['{', '}']).replace("\":", "=");
                    format!("[{}]", key.replacen('"', "", 1))
                }
                None => String::new(),
            };
            path.iter().map(step).collect()
        })
    }

    /// Reads the form `FieldsV1`.
    pub(super) fn from_json(fields: &Value) -> Self {
        let mut paths = Self::default();
        paths.read(fields, &mut Vec::new());
        paths
    }

    fn read(&mut self, fields: &Value, path: &mut Vec<String>) {
        for (step, below) in fields.as_object().into_iter().flatten() {
            path.push(step.clone());
            if below.as_object().is_none_or(Map::is_empty) {
                self.0.insert(path.clone());
            } else {
                self.read(below, path);
            }
            path.pop();
        }
    }

    /// Writes the form `FieldsV1`.
    pub(super) fn to_json(&self) -> Value {
        let mut root = json!({});
        for path in &self.0 {
            let mut place = &mut root;
            for step in path {
                place = &mut place[step];
                if place.is_null() {
                    *place = json!({});
                }
            }
        }
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> &'static Kind {
        Kind::at("apps", "v1", "deployments").expect("served")
    }

    #[test]
    fn paths_are_written_as_in_a_cluster_and_read_again() {
        let object = json!({
            "metadata": {"name": "a", "labels": {"app": "a"}},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i", "args": ["x"]}]}}},
        });
        let paths = Paths::of(&object, deployment());
        let entry = json!({".": {}, "f:name": {}, "f:image": {}, "f:args": {}});
        let expected = json!({
            "f:metadata": {"f:labels": {"f:app": {}}},
            "f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": entry}}}},
        });
        assert_eq!(paths.to_json(), expected);
        assert_eq!(Paths::from_json(&expected), paths);
        assert!(
            paths
                .shown()
                .any(|it| it == ".spec.template.spec.containers[name=\"c\"].image")
        );
    }

    #[test]
    fn an_entry_is_removed_with_the_last_of_its_fields() {
        let mut object = json!({"spec": {"containers": [
            {"name": "a", "image": "i"}, {"name": "b", "image": "i", "tty": true},
        ]}});
        let removed = json!({"spec": {"containers": [
            {"name": "a", "image": "i"}, {"name": "b", "image": "i"},
        ]}});
        Paths::of(&removed, deployment()).remove_from(&mut object);
        assert_eq!(
            object,
            json!({"spec": {"containers": [{"name": "b", "tty": true}]}})
        );
    }
}
