//! The steps of a path: `f:NAME` for a field, `k:{"KEY":VALUE}` for an entry of a list,
//! `.` for the entry itself.

use serde_json::{Map, Value};

/// Whether a path ends with the key of an entry, which identifies it.
pub(super) fn is_key(path: &[String]) -> bool {
    let [.., entry, field] = path else {
        return false;
    };
    let key = entry.strip_prefix("k:").unwrap_or_default();
    let key = keys(key);
    field
        .strip_prefix("f:")
        .is_some_and(|name| key.contains_key(name))
}

/// The keys of a step `k:{…}`; none if it does not parse.
fn keys(step: &str) -> Map<String, Value> {
    serde_json::from_str(step).unwrap_or_default()
}

/// Whether an entry of a list has the keys of a step `k:{…}`.
fn has_keys(entry: &Value, key: &Map<String, Value>) -> bool {
    let has = |(name, value): (&String, &Value)| key_value(entry, name).as_ref() == Some(value);
    !key.is_empty() && key.iter().all(has)
}

/// The value of a key of an entry, which may be absent and have its default.
pub(super) fn key_value(entry: &Value, name: &str) -> Option<Value> {
    match entry.get(name) {
        None if name == "protocol" => Some("TCP".into()),
        value => value.cloned(),
    }
}

/// The value at `path`.
pub(super) fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut value = object;
    for step in path {
        value = match step.split_once(':') {
            Some(("f", name)) => value.get(name)?,
            Some((_, key)) => {
                let key = keys(key);
                value.as_array()?.iter().find(|it| has_keys(it, &key))?
            }
            None => value,
        };
    }
    Some(value)
}

/// Removes the value at `path`; an entry of a list only if nothing but its key remains.
pub(super) fn remove(object: &mut Value, path: &[String]) {
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
                remove(value, below);
            }
        }
        Some((_, key)) => {
            let Some(entries) = object.as_array_mut() else {
                return;
            };
            let key = keys(key);
            let Some(place) = entries.iter().position(|it| has_keys(it, &key)) else {
                return;
            };
            if below.first().is_some_and(|step| step == ".") {
                let fields = entries[place].as_object();
                if fields.is_some_and(|it| it.keys().all(|name| key.contains_key(name))) {
                    entries.remove(place);
                }
            } else if let Some(entry) = entries.get_mut(place) {
                remove(entry, below);
            }
        }
        None => {}
    }
}
