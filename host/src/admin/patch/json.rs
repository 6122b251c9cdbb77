//! JSON Patch (RFC 6902), with limits that are checked before each operation: the size and
//! the depth of what a patch copies can double with every operation.

use json_patch::{Patch, PatchOperation};
use serde_json::{Map, Value};

use crate::admin::bounds::{Measure, check_depth};
use crate::admin::failure::Failure;

/// Operations of one patch, as in an API server.
const OPERATIONS_MAX: usize = 10_000;

/// Bytes of all copies of one patch, as in an API server
/// (`JSONPatchMaxCopyBytes`).
const COPIED_MAX: usize = 3 << 20;

/// Values that one patch moves, or shifts in lists: about 100 ms.
const MOVED_MAX: usize = 10_000_000;

/// The cost of the operations so far.
#[derive(Debug, Default)]
struct Cost {
    copied: usize,
    moved: usize,
}

/// Patches `object`, which is unspecified after a failure.
///
/// # Errors
/// The patch does not parse, does not apply, or costs too much.
pub(super) fn apply(object: &mut Value, patch: &[u8]) -> Result<(), Failure> {
    // A patch that is not a list of objects is 400; an object that is not an operation is 422.
    let entries: Vec<Map<String, Value>> = serde_json::from_slice(patch)
        .map_err(|error| Failure::BadRequest(format!("the patch is not valid: {error}")))?;
    let entries = entries.into_iter().map(Value::Object).collect();
    let Patch(operations) = serde_json::from_value(Value::Array(entries))
        .map_err(|error| Failure::Unfit(format!("cannot apply the patch: {error}")))?;
    let count = operations.len();
    if count > OPERATIONS_MAX {
        return Err(Failure::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}"
        )));
    }
    let mut cost = Cost::default();
    for (number, operation) in operations.iter().enumerate() {
        cost.add(object, operation)?;
        json_patch::patch_unsafe(object, std::slice::from_ref(operation)).map_err(|error| {
            let (path, kind) = (&error.path, &error.kind);
            Failure::Unfit(format!(
                "cannot apply the patch: operation '/{number}' failed at path '{path}': {kind}"
            ))
        })?;
    }
    Ok(())
}

impl Cost {
    fn add(&mut self, object: &Value, operation: &PatchOperation) -> Result<(), Failure> {
        match operation {
            PatchOperation::Add(add) => {
                self.moved += siblings(object, add.path.as_str());
                check_depth(levels(add.path.as_str()) + Measure::of(&add.value).depth)?;
            }
            PatchOperation::Replace(replace) => {
                check_depth(levels(replace.path.as_str()) + Measure::of(&replace.value).depth)?;
            }
            PatchOperation::Remove(remove) => {
                self.moved += siblings(object, remove.path.as_str());
            }
            PatchOperation::Move(moving) => {
                let (from, to) = (moving.from.as_str(), moving.path.as_str());
                let measure = at(object, from);
                self.moved += measure.values + siblings(object, from) + siblings(object, to);
                check_depth(levels(to) + measure.depth)?;
            }
            PatchOperation::Copy(copy) => {
                let measure = at(object, copy.from.as_str());
                self.copied += measure.bytes;
                self.moved += siblings(object, copy.path.as_str());
                check_depth(levels(copy.path.as_str()) + measure.depth)?;
            }
            PatchOperation::Test(_) => {}
        }
        if self.copied > COPIED_MAX {
            return Err(Failure::TooLarge(format!(
                "the copies of the patch are too large: limit is {COPIED_MAX} bytes"
            )));
        }
        if self.moved > MOVED_MAX {
            return Err(Failure::TooLarge(format!(
                "the patch moves too much: limit is {MOVED_MAX} values"
            )));
        }
        Ok(())
    }
}

fn at(object: &Value, path: &str) -> Measure {
    // A path that does not exist fails when the operation is applied.
    object.pointer(path).map(Measure::of).unwrap_or_default()
}

/// How many levels are above the value at `path`.
fn levels(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'/').count()
}

/// Entries that shift when a list gains or loses the one at `path`.
fn siblings(object: &Value, path: &str) -> usize {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let parent = object.pointer(parent).and_then(Value::as_array);
    parent.map_or(1, Vec::len)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;

    fn applied(object: &Value, patch: &Value) -> Result<Value, u64> {
        let mut object = object.clone();
        match apply(&mut object, patch.to_string().as_bytes()) {
            Ok(()) => Ok(object),
            Err(failure) => Err(failure.status()["code"].as_u64().expect("a code")),
        }
    }

    fn times(count: usize, operation: &Value) -> Value {
        Value::Array(vec![operation.clone(); count])
    }

    #[test]
    fn every_operation_is_applied() {
        let object = json!({"a": [1, 2], "b": {"c": "d"}});
        let patch = json!([
            {"op": "test", "path": "/b/c", "value": "d"},
            {"op": "copy", "from": "/b", "path": "/e"},
            {"op": "move", "from": "/a/0", "path": "/a/-"},
            {"op": "add", "path": "/a/0", "value": 7},
            {"op": "replace", "path": "/b/c", "value": 8},
            {"op": "remove", "path": "/b"},
        ]);
        let expected = json!({"a": [7, 2, 1], "e": {"c": "d"}});
        assert_eq!(applied(&object, &patch), Ok(expected));
        let wrong = json!([{"op": "test", "path": "/b/c", "value": "x"}]);
        assert_eq!(applied(&object, &wrong), Err(422));
    }

    #[test]
    fn copies_that_double_are_stopped() {
        let started = Instant::now();
        let object = json!({"a": ["x".repeat(1_000)]});
        let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        assert_eq!(applied(&object, &times(20, &double)), Err(413));
        let wide = |from: &str| json!({"op": "copy", "from": from, "path": "/a/-"});
        let patch = times(10_000, &wide("/a/0"));
        assert_eq!(applied(&object, &patch), Err(413));
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }

    #[test]
    fn depth_that_doubles_is_stopped_before_it_overflows_the_stack() {
        let mut patch = vec![json!({"op": "add", "path": "/a", "value": {}})];
        for doubled in 0..18 {
            let path = format!("/a{}", "/x".repeat(1 << doubled));
            patch.push(json!({"op": "copy", "from": "/a", "path": path}));
        }
        assert_eq!(applied(&json!({}), &Value::Array(patch)), Err(422));
    }

    #[test]
    fn repeated_shifts_of_a_long_list_are_stopped() {
        let object = json!({"a": vec![0; 100_000]});
        let started = Instant::now();
        let first = json!({"op": "add", "path": "/a/0", "value": 0});
        assert_eq!(applied(&object, &times(10_000, &first)), Err(413));
        let there = json!({"op": "move", "from": "/a", "path": "/b"});
        let back = json!({"op": "move", "from": "/b", "path": "/a"});
        let patch = std::iter::repeat_n([there, back], 5_000)
            .flatten()
            .collect();
        assert_eq!(applied(&object, &patch), Err(413));
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }

    #[test]
    fn too_many_operations_are_refused() {
        let test = json!({"op": "test", "path": "/a", "value": 1});
        assert_eq!(applied(&json!({"a": 1}), &times(10_001, &test)), Err(413));
        assert!(applied(&json!({"a": 1}), &times(10_000, &test)).is_ok());
    }
}
