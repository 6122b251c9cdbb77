//! Who said which fields: `metadata.managedFields`, in the form `FieldsV1`.
//!
//! A path is a row of steps as that form writes them: `f:NAME` for a field,
//! `k:{"KEY":VALUE}` for an entry of a list, `.` for the entry itself.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::admin::kind::Kind;
use crate::admin::patch::strategic::key_of;

/// Managers of one object that are kept; the one that spoke longest ago goes first.
const MANAGERS_MAX: usize = 50;

/// What is nobody's: it names the object, or the host writes it.
const OF_NOBODY: [&str; 10] = [
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What one manager said.
#[derive(Debug, Clone)]
pub(super) struct Managed {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub time: String,
    pub paths: Paths,
}

/// Everybody who said something of one object.
#[derive(Debug, Default)]
pub(super) struct Managers(pub Vec<Managed>);

/// Fields of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Paths(BTreeSet<Vec<String>>);

impl Managed {
    /// As conflicts name it.
    pub(super) fn described(&self) -> String {
        format!("\"{}\" using {}", self.manager, self.api_version)
    }
}

impl Managers {
    /// Of `metadata.managedFields`; what is not understood there is nobody's.
    pub(super) fn of(object: &Value) -> Self {
        let listed = object["metadata"]["managedFields"].as_array();
        let read = |entry: &Value| {
            let text = |field: &str| entry[field].as_str().map(str::to_owned);
            let operation = match entry["operation"].as_str()? {
                "Apply" => Operation::Apply,
                _ => Operation::Update,
            };
            let mut paths = Paths::default();
            paths.read(&entry["fieldsV1"], &mut Vec::new());
            Some(Managed {
                manager: text("manager")?,
                operation,
                api_version: text("apiVersion")?,
                time: text("time").unwrap_or_default(),
                paths,
            })
        };
        Self(listed.into_iter().flatten().filter_map(read).collect())
    }

    /// Adds `paths` to what `managed` says already.
    pub(super) fn give(&mut self, mut managed: Managed, paths: &Paths) {
        let same =
            |it: &Managed| it.manager == managed.manager && it.operation == managed.operation;
        if let Some(before) = self.take(same) {
            managed.paths = before;
        }
        managed.paths.0.extend(paths.0.iter().cloned());
        self.0.push(managed);
        let too_many = self.0.len().saturating_sub(MANAGERS_MAX);
        self.0.drain(..too_many);
    }

    pub(super) fn take(&mut self, which: impl Fn(&Managed) -> bool) -> Option<Paths> {
        let place = self.0.iter().position(which)?;
        Some(self.0.remove(place).paths)
    }

    /// Into `metadata.managedFields`.
    pub(super) fn write(&self, object: &mut Value) {
        let said = self.0.iter().filter(|it| !it.paths.is_empty());
        let listed: Vec<_> = said
            .map(|it| {
                json!({
                    "manager": it.manager,
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

impl Paths {
    /// Everything that `object` says.
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
                    let said = value.as_object().into_iter().flatten();
                    for (field, value) in said.filter(|it| !OF_NOBODY.contains(&it.0.as_str())) {
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

    pub(super) fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).cloned().collect())
    }

    pub(super) fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// Those whose values are not the same in both. That an entry is there is no value.
    pub(super) fn differing(&self, a: &Value, b: &Value) -> Self {
        let differs = |path: &&Vec<String>| match path.last().map(String::as_str) {
            Some(".") => at(a, path).is_some() != at(b, path).is_some(),
            _ => at(a, path) != at(b, path),
        };
        Self(self.0.iter().filter(differs).cloned().collect())
    }

    /// Takes the fields out of `object`. An entry goes once nothing of it is left
    /// but its key.
    pub(super) fn remove_from(&self, object: &mut Value) {
        // The longest first, and that it is there last: what an entry holds goes
        // before the entry.
        let mut paths: Vec<_> = self.0.iter().filter(|path| !is_key(path)).collect();
        let is_entry = |path: &[String]| path.last().is_some_and(|step| step == ".");
        paths.sort_by_key(|path| (std::cmp::Reverse(path.len()), is_entry(path)));
        for path in paths {
            take_out(object, path);
        }
    }

    /// As messages show them: `.spec.replicas`.
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

    fn to_json(&self) -> Value {
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

/// Whether a path ends with the key of an entry, by which that is found.
fn is_key(path: &[String]) -> bool {
    let [.., entry, field] = path else {
        return false;
    };
    let key = entry.strip_prefix("k:").unwrap_or_default();
    let key = keys(key);
    field
        .strip_prefix("f:")
        .is_some_and(|name| key.contains_key(name))
}

/// What a step `k:{…}` asks of an entry; nothing where it is nonsense.
fn keys(step: &str) -> Map<String, Value> {
    serde_json::from_str(step).unwrap_or_default()
}

/// Whether an entry of a list is the one that a step `k:{…}` means.
fn is_meant(entry: &Value, key: &Map<String, Value>) -> bool {
    !key.is_empty()
        && key
            .iter()
            .all(|(name, value)| entry.get(name) == Some(value))
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut value = object;
    for step in path {
        value = match step.split_once(':') {
            Some(("f", name)) => value.get(name)?,
            Some((_, key)) => {
                let key = keys(key);
                value.as_array()?.iter().find(|it| is_meant(it, &key))?
            }
            None => value,
        };
    }
    Some(value)
}

fn take_out(object: &mut Value, path: &[String]) {
    let (Some((step, below)), false) = (path.split_first(), object.is_null()) else {
        return;
    };
    match step.split_once(':') {
        Some(("f", name)) => {
            let Some(fields) = object.as_object_mut() else {
                return;
            };
            if below.is_empty() {
                fields.remove(name);
            } else if let Some(value) = fields.get_mut(name) {
                take_out(value, below);
            }
        }
        Some((_, key)) => {
            let Some(entries) = object.as_array_mut() else {
                return;
            };
            let key = keys(key);
            let Some(place) = entries.iter().position(|it| is_meant(it, &key)) else {
                return;
            };
            if below.first().is_some_and(|step| step == ".") {
                if entries[place]
                    .as_object()
                    .is_some_and(|it| it.len() <= key.len())
                {
                    entries.remove(place);
                }
            } else if let Some(entry) = entries.get_mut(place) {
                take_out(entry, below);
            }
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment() -> &'static Kind {
        Kind::at("apps", "v1", "deployments").expect("served")
    }

    #[test]
    fn fields_are_written_as_a_cluster_writes_them_and_read_again() {
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
        let mut read = Paths::default();
        read.read(&expected, &mut Vec::new());
        assert_eq!(read, paths);
        assert!(
            paths
                .shown()
                .any(|it| it == ".spec.template.spec.containers[name=\"c\"].image")
        );
    }

    #[test]
    fn an_entry_goes_with_the_last_of_its_fields() {
        let mut object = json!({"spec": {"containers": [
            {"name": "a", "image": "i"}, {"name": "b", "image": "i", "tty": true},
        ]}});
        let said = json!({"spec": {"containers": [
            {"name": "a", "image": "i"}, {"name": "b", "image": "i"},
        ]}});
        Paths::of(&said, deployment()).remove_from(&mut object);
        assert_eq!(
            object,
            json!({"spec": {"containers": [{"name": "b", "tty": true}]}})
        );
    }

    #[test]
    fn nonsense_in_managed_fields_does_no_harm() {
        for nonsense in [
            json!(7),
            json!([7, {"operation": "Apply"}]),
            json!([{
                "manager": "m", "operation": "Apply", "apiVersion": "v1",
                "fieldsV1": {"f:spec": {"k:[": {}, "x": {}, "f:a": 7}},
            }]),
        ] {
            let object = json!({"metadata": {"managedFields": nonsense}, "spec": {"a": [1]}});
            let mut managers = Managers::of(&object);
            let mut changed = object.clone();
            if let Some(paths) = managers.take(|_| true) {
                paths.remove_from(&mut changed);
                assert_eq!(changed["spec"], json!({}));
            }
        }
    }
}
