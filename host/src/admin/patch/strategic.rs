//! Kubernetes' strategic merge patch: lists whose entries have a key merge by it, and
//! directives (`$patch`, `$setElementOrder/…`, …) control the rest.
//!
//! <https://github.com/kubernetes/community/blob/main/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use serde_json::{Map, Value};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Where the entries of a list come that only its target has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Before the entries of the patch that followed them.
    BeforeKnown,
    /// As [`Self::BeforeKnown`], and before the new entries of the patch.
    BeforeNew,
}

/// Merges `patch` into `target`.
pub(crate) fn merge(target: &mut Value, patch: Value) {
    merge_as(Others::BeforeKnown, target, patch);
}

/// Merges an object that is applied into `target`.
pub(crate) fn apply(target: &mut Value, applied: Value) {
    merge_as(Others::BeforeNew, target, applied);
}

fn merge_as(others: Others, target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(target) = target {
        fields(others, target, patch);
    }
}

/// The field that identifies the entries of the list `name`; `None` if the list is replaced
/// as a whole.
pub(crate) fn key_of(name: &str, entries: &[Value]) -> Option<&'static str> {
    match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "secrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        "conditions" => Some("type"),
        "hostAliases" => Some("ip"),
        "ownerReferences" => Some("uid"),
        "topologySpreadConstraints" => Some("topologyKey"),
        "ports" => {
            let of_container = |entry: &Value| entry.get("containerPort").is_some();
            match entries.iter().any(of_container) {
                true => Some("containerPort"),
                false => Some("port"),
            }
        }
        _ => None,
    }
}

/// Whether a merge compares the entries of the list `name` with each other or with those of
/// another list: then its cost grows with the square of the length.
pub(crate) fn compares_entries(name: &str, entries: &[Value]) -> bool {
    name.starts_with('$') || is_set(name) || key_of(name, entries).is_some()
}

/// Lists of plain values that merge instead of being replaced.
fn is_set(name: &str) -> bool {
    name == "finalizers"
}

fn fields(others: Others, target: &mut Map<String, Value>, mut patch: Map<String, Value>) {
    match patch.remove(PATCH).as_ref().and_then(Value::as_str) {
        Some("replace") => {
            *target = patch;
            return;
        }
        Some("delete") => {
            target.clear();
            return;
        }
        _ => {}
    }
    if let Some(Value::Array(kept)) = patch.remove(RETAIN_KEYS) {
        target.retain(|name, _| kept.iter().any(|it| it == name));
    }
    let mut orders = Vec::new();
    for (name, value) in patch {
        if let Some(list) = name.strip_prefix(DELETE_PRIMITIVES) {
            if let (Some(Value::Array(list)), Value::Array(gone)) = (target.get_mut(list), value) {
                list.retain(|it| !gone.contains(it));
            }
        } else if let Some(list) = name.strip_prefix(ELEMENT_ORDER) {
            orders.push((list.to_owned(), value));
        } else {
            field(others, target, name, value);
        }
    }
    for (name, order) in orders {
        if let (Some(Value::Array(list)), Value::Array(order)) = (target.get_mut(&name), order) {
            put_in_order(&name, list, &order);
        }
    }
}

fn field(others: Others, target: &mut Map<String, Value>, name: String, value: Value) {
    match value {
        Value::Null => {
            target.remove(&name);
        }
        Value::Object(_) => {
            merge_as(others, target.entry(name).or_insert(Value::Null), value);
        }
        Value::Array(entries) => {
            let known = match target.remove(&name) {
                Some(Value::Array(known)) => known,
                _ => Vec::new(),
            };
            let all: Vec<_> = known.iter().chain(&entries).cloned().collect();
            let merged = match key_of(&name, &all) {
                Some(key) => keyed(others, known, entries, key),
                None if is_set(&name) => {
                    let new = entries.into_iter().filter(|it| !known.contains(it));
                    let new: Vec<_> = new.collect();
                    known.into_iter().chain(new).collect()
                }
                None => entries,
            };
            target.insert(name, Value::Array(merged));
        }
        value => {
            target.insert(name, value);
        }
    }
}

/// Merges the entries of a patch, which keep their order, into those that are `known`.
fn keyed(others: Others, mut known: Vec<Value>, entries: Vec<Value>, key: &str) -> Vec<Value> {
    let replaces = |entry: &Value| entry[PATCH] == "replace" && entry.get(key).is_none();
    if entries.iter().any(replaces) {
        return entries
            .into_iter()
            .filter(|entry| !replaces(entry))
            .collect();
    }
    // Each with its place among the known entries, where null is left.
    let mut changed: Vec<(Option<usize>, Value)> = Vec::new();
    for entry in entries {
        let same = |it: &Value| it.get(key) == entry.get(key);
        if let Some((_, earlier)) = changed.iter_mut().find(|(_, it)| same(it)) {
            merge_as(others, earlier, entry);
            continue;
        }
        let place = known.iter().position(same);
        let is_deleted = entry[PATCH] == "delete";
        let mut merged = match place {
            Some(place) => std::mem::take(&mut known[place]),
            None => Value::Object(Map::new()),
        };
        if !is_deleted {
            merge_as(others, &mut merged, entry);
            changed.push((place, merged));
        }
    }
    let next_known = |at: usize| {
        let places = changed.iter().filter_map(|(place, _)| *place);
        places.filter(|place| *place >= at).min()
    };
    let mut list = Vec::new();
    let mut left = 0;
    let mut take = |list: &mut Vec<Value>, end: usize| {
        let taken = known.iter_mut().take(end).skip(left).map(Value::take);
        list.extend(taken.filter(|it| !it.is_null()));
        left = left.max(end);
    };
    let mut seen = 0;
    for (place, entry) in &changed {
        let end = match (place, others) {
            (Some(place), _) => *place,
            (None, Others::BeforeKnown) => 0,
            (None, Others::BeforeNew) => next_known(seen).unwrap_or(usize::MAX),
        };
        take(&mut list, end);
        list.push(entry.clone());
        seen = seen.max(place.map_or(0, |place| place + 1));
    }
    take(&mut list, usize::MAX);
    list
}

/// Sorts the entries by `order`; those that are not in it come last.
fn put_in_order(name: &str, list: &mut [Value], order: &[Value]) {
    let key = key_of(name, list);
    let place = |entry: &Value| {
        order
            .iter()
            .position(|it| match key {
                Some(key) => it.get(key) == entry.get(key),
                None => it == entry,
            })
            .unwrap_or(order.len())
    };
    list.sort_by_key(place);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(mut target: Value, patch: Value) -> Value {
        merge(&mut target, patch);
        target
    }

    #[test]
    fn entries_with_a_key_merge_and_other_lists_are_replaced() {
        let target = json!({"containers": [
            {"name": "a", "image": "a:1", "args": ["x", "y"]},
            {"name": "b", "image": "b:1"},
        ]});
        let patch = json!({"containers": [{"name": "a", "image": "a:2", "args": ["z"]}]});
        let expected = json!({"containers": [
            {"name": "a", "image": "a:2", "args": ["z"]},
            {"name": "b", "image": "b:1"},
        ]});
        assert_eq!(merged(target, patch), expected);
    }

    #[test]
    fn new_entries_come_before_those_that_the_patch_does_not_have() {
        let ports = |names: &[&str]| -> Value {
            let ports: Value = names.iter().map(|it| json!({"name": it})).collect();
            json!({"containers": ports})
        };
        for (known, patch, expected) in [
            (&["a", "b"][..], &["new"][..], &["new", "a", "b"][..]),
            (&["a", "b", "c"], &["b", "new"], &["a", "b", "new", "c"]),
            (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        ] {
            assert_eq!(merged(ports(known), ports(patch)), ports(expected));
        }
        let mut applied = ports(&["a", "b", "c"]);
        apply(&mut applied, ports(&["b", "new"]));
        assert_eq!(applied, ports(&["a", "b", "c", "new"]));
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let target = json!({
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
            "finalizers": ["x", "y"],
            "labels": {"a": "1", "b": "2"},
        });
        let patch = json!({
            "$setElementOrder/env": [{"name": "C"}, {"name": "A"}],
            "env": [{"name": "B", "$patch": "delete"}, {"name": "C", "value": "3"}],
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "$deleteFromPrimitiveList/finalizers": ["x"],
            "labels": {"a": null},
        });
        let expected = json!({
            "env": [{"name": "C", "value": "3"}, {"name": "A", "value": "1"}],
            "strategy": {"type": "Recreate"},
            "finalizers": ["y"],
            "labels": {"b": "2"},
        });
        assert_eq!(merged(target, patch), expected);
        let replaced = merged(
            json!({"ports": [{"port": 1}]}),
            json!({"ports": [{"$patch": "replace"}, {"port": 2}]}),
        );
        assert_eq!(replaced, json!({"ports": [{"port": 2}]}));
    }

    #[test]
    fn values_of_a_wrong_type_are_replaced() {
        let target = json!({"containers": "text", "spec": [1]});
        let patch = json!({"containers": [1, {"name": "a"}], "spec": {"a": 1}, "$patch": 7});
        let expected = json!({"containers": [1, {"name": "a"}], "spec": {"a": 1}});
        assert_eq!(merged(target, patch), expected);
    }
}
