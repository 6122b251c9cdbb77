//! The form in which an object is stored: named by the request's path, without the fields
//! that a cluster adds, and without the defaults that a client only sends back.

use rand::Rng;
use rand::distr::slice::Choose;
use serde_json::{Map, Value};

use crate::admin::failure::{Cause, Failure};
use crate::admin::kind::api_version;
use crate::admin::object::versions::convert;
use crate::admin::object::{DRIFT, encode_secret};
use crate::admin::path::Resource;
use crate::store::StoredObject;

/// The letters of generated names, as in an API server.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Checks that an object has the kind, namespace and name of the path, and fills them in
/// where they are absent.
///
/// # Errors
/// The object differs from the path, or neither has a name.
pub(super) fn identify(resource: &Resource, object: &mut Value) -> Result<(), Failure> {
    let version = api_version(resource.kind.group, &resource.version);
    if !object.is_object() {
        return Err(Failure::BadRequest("the body is not an object".into()));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = Value::Object(Map::new());
    }
    agree(object, "apiVersion", &version)?;
    agree(object, "kind", resource.kind.kind)?;
    let metadata = &mut object["metadata"];
    match &resource.namespace {
        Some(namespace) => agree(metadata, "namespace", namespace)?,
        None if resource.kind.namespaced => {
            return Err(Failure::MethodNotAllowed);
        }
        None => remove(metadata, "namespace"),
    }
    if let Some(name) = &resource.name {
        return agree(metadata, "name", name);
    }
    check_text(metadata, "name")?;
    if metadata["name"].as_str().is_none_or(str::is_empty) {
        let Some(prefix) = metadata["generateName"].as_str() else {
            let message = "Required value: name or generateName is required";
            return Err(Failure::Invalid {
                kind: resource.kind,
                name: String::new(),
                causes: vec![Cause::required("metadata.name", message)],
            });
        };
        let letters = Choose::new(LETTERS)
            .into_iter()
            .flat_map(|letters| rand::rng().sample_iter(letters).take(5).collect::<Vec<_>>());
        let suffix: String = letters.map(|letter| char::from(*letter)).collect();
        metadata["name"] = format!("{prefix}{suffix}").into();
    }
    Ok(())
}

/// Sets a field that is absent; one that is present must have the value of the path.
fn agree(object: &mut Value, field: &str, expected: &str) -> Result<(), Failure> {
    check_text(object, field)?;
    match object[field].as_str() {
        Some(text) if text == expected => Ok(()),
        Some(text) if !text.is_empty() => Err(Failure::BadRequest(format!(
            "{field} of the object is `{text}`, which does not match the request: `{expected}`"
        ))),
        _ => {
            object[field] = expected.into();
            Ok(())
        }
    }
}

fn check_text(object: &Value, field: &str) -> Result<(), Failure> {
    let value = object.get(field).unwrap_or(&Value::Null);
    match value.is_null() || value.is_string() {
        true => Ok(()),
        false => Err(Failure::BadRequest(format!(
            "{field} of the object must be a text, not `{value}`; put it in quotes"
        ))),
    }
}

/// Removes the fields that a cluster or the host adds to an object.
pub(super) fn strip(object: &mut Value) {
    remove(object, "status");
    let metadata = &mut object["metadata"];
    for field in [
        "resourceVersion",
        "generation",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        remove(metadata, field);
    }
    remove(&mut metadata["annotations"], DRIFT);
    if metadata["annotations"]
        .as_object()
        .is_none_or(Map::is_empty)
    {
        remove(metadata, "annotations");
    }
}

pub(super) fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// `wanted`, with the written form of every field that is still as it was shown.
pub(super) fn keep_unchanged(wanted: Value, shown: &Value, written: &Value) -> Value {
    match (wanted, shown, written) {
        (wanted, shown, written) if wanted == *shown => written.clone(),
        (Value::Object(wanted), Value::Object(shown), Value::Object(written)) => {
            let keep = |(name, value): (String, Value)| match (shown.get(&name), written.get(&name))
            {
                (Some(shown), Some(written)) => {
                    let kept = keep_unchanged(value, shown, written);
                    Some((name, kept))
                }
                (Some(shown), None) if *shown == value => None,
                _ => Some((name, value)),
            };
            Value::Object(wanted.into_iter().filter_map(keep).collect())
        }
        (Value::Array(wanted), Value::Array(shown), Value::Array(written))
            if wanted.len() == shown.len() && shown.len() == written.len() =>
        {
            let both = shown.iter().zip(written);
            let kept = wanted.into_iter().zip(both);
            kept.map(|(value, (shown, written))| keep_unchanged(value, shown, written))
                .collect()
        }
        (wanted, ..) => wanted,
    }
}

/// The object as it was written, in the version of the request. `stringData` of a Secret
/// becomes `data`, or it would override what a client changes there.
pub(super) fn as_written(stored: &StoredObject, resource: &Resource) -> Value {
    let mut written = stored.object.raw.clone();
    convert(&mut written, resource.kind, &resource.version);
    if written.get("stringData").is_some() {
        encode_secret(&stored.object, &mut written);
    }
    written
}

/// `object` without the times of its managers: a write that repeats what is stored changes
/// nothing.
pub(super) fn without_times(object: &Value) -> Value {
    let mut object = object.clone();
    let managers = object["metadata"]["managedFields"].as_array_mut();
    for manager in managers.into_iter().flatten() {
        remove(manager, "time");
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_that_a_client_sends_back_stay_as_written() {
        let written = json!({"spec": {"template": {"containers": [{"name": "a"}]}}});
        let shown = json!({"spec": {
            "replicas": 1,
            "template": {"containers": [{"name": "a", "pullPolicy": "Always"}]},
        }});
        let mut wanted = shown.clone();
        wanted["metadata"] = json!({"labels": {"a": "b"}});
        let kept = keep_unchanged(wanted.clone(), &shown, &written);
        let mut expected = written.clone();
        expected["metadata"] = json!({"labels": {"a": "b"}});
        assert_eq!(kept, expected);
        wanted["spec"]["replicas"] = 3.into();
        wanted["spec"]["template"]["containers"][0]["image"] = "b".into();
        let kept = keep_unchanged(wanted, &shown, &written);
        assert_eq!(kept["spec"]["replicas"], 3);
        assert_eq!(
            kept["spec"]["template"]["containers"],
            json!([{"name": "a", "image": "b"}])
        );
    }

    #[test]
    fn fields_that_a_client_removes_are_removed() {
        let written = json!({"spec": {"a": 1, "b": 2}});
        let kept = keep_unchanged(json!({"spec": {"b": 2}}), &written, &written);
        assert_eq!(kept, json!({"spec": {"b": 2}}));
    }
}
