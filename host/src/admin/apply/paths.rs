//! Sets of fields, each a path as `FieldsV1` writes it.

mod step;

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value, json};

use crate::admin::kind::Kind;
use crate::admin::patch::strategic::key_of;
use step::{at, is_key, key_value};

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

/// Mappings that have one manager as a whole, in kinds that are not custom resources.
const ATOMIC: [&str; 10] = [
    // Of `autoscaling/v1` alone.
    "scaleTargetRef",
    "configMapKeyRef",
    "fieldRef",
    "labelSelector",
    "namespaceSelector",
    "nodeSelector",
    "podSelector",
    "resourceFieldRef",
    "secretKeyRef",
    "selector",
];

/// The fields that identify the entries of the list `name`; none if it has one manager as a
/// whole.
fn keys_of(name: &str, entries: &[Value]) -> &'static [&'static str] {
    match key_of(name, entries) {
        Some("containerPort") => &["containerPort", "protocol"],
        Some("port") => &["port", "protocol"],
        Some("topologyKey") => &["topologyKey", "whenUnsatisfiable"],
        Some("name") => &["name"],
        Some("mountPath") => &["mountPath"],
        Some("devicePath") => &["devicePath"],
        Some("type") => &["type"],
        Some("ip") => &["ip"],
        Some("uid") => &["uid"],
        _ => &[],
    }
}

/// What is managed as a whole in an object.
#[derive(Debug, Clone, Copy)]
struct Rules {
    lists_merge: bool,
    /// A part of [`ATOMIC`].
    atomic: &'static [&'static str],
}

impl Rules {
    fn of(object: &Value, kind: &Kind) -> Self {
        let atomic = match object["apiVersion"] == "autoscaling/v1" {
            _ if kind.is_custom => &[][..],
            true => &ATOMIC,
            false => &ATOMIC[1..],
        };
        Self {
            lists_merge: !kind.is_custom,
            atomic,
        }
    }
}

/// A list of an applied object that has two entries with the same keys, as in `.spec.ports`.
pub(super) fn repeated(value: &Value) -> Option<String> {
    let fields = value.as_object().into_iter().flatten();
    let below = |name: String, value: &Value| repeated(value).map(|path| format!("{name}{path}"));
    for (name, value) in fields {
        let found = match value {
            Value::Array(entries) => {
                let keys = keys_of(name, entries);
                let key = |entry: &Value| -> Vec<_> {
                    keys.iter().map(|key| key_value(entry, key)).collect()
                };
                let mut seen = HashSet::new();
                let all_keys = entries.iter().map(key);
                let twice = !keys.is_empty()
                    && all_keys
                        .into_iter()
                        .any(|key| !seen.insert(format!("{key:?}")));
                let within = || {
                    let entries = entries.iter().enumerate();
                    entries
                        .filter_map(|(index, it)| below(format!("[{index}]"), it))
                        .next()
                };
                match twice {
                    true => Some(String::new()),
                    false => within(),
                }
            }
            value => repeated(value),
        };
        if let Some(path) = found {
            return Some(format!(".{name}{path}"));
        }
    }
    None
}

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
        let rules = Rules::of(object, kind);
        for (name, value) in fields {
            match name.as_str() {
                "apiVersion" | "kind" | "status" => {}
                "metadata" => {
                    let fields = value.as_object().into_iter().flatten();
                    for (field, value) in fields.filter(|it| !UNMANAGED.contains(&it.0.as_str())) {
                        let mut path = vec!["f:metadata".to_owned(), format!("f:{field}")];
                        paths.collect(field, value, rules, &mut path);
                    }
                }
                _ => paths.collect(name, value, rules, &mut vec![format!("f:{name}")]),
            }
        }
        paths
    }

    fn collect(&mut self, name: &str, value: &Value, rules: Rules, path: &mut Vec<String>) {
        let keys = match value {
            Value::Array(entries) if rules.lists_merge => keys_of(name, entries),
            _ => &[],
        };
        let is_whole = rules.atomic.contains(&name);
        match (value, keys) {
            (Value::Object(fields), _) if !fields.is_empty() && !is_whole => {
                for (name, value) in fields {
                    path.push(format!("f:{name}"));
                    self.collect(name, value, rules, path);
                    path.pop();
                }
            }
            (Value::Array(entries), [first, ..]) => {
                for entry in entries.iter().filter(|entry| entry.get(*first).is_some()) {
                    let key = keys.iter().map(|name| {
                        let value = key_value(entry, name).unwrap_or_default();
                        ((*name).to_owned(), value)
                    });
                    path.push(format!("k:{}", Value::Object(key.collect())));
                    path.push(".".to_owned());
                    self.0.insert(path.clone());
                    path.pop();
                    self.collect("", entry, rules, path);
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
