//! Limits on the size, depth and complexity of an object. They are checked before any step
//! whose cost is not linear: managed fields, and lists that merge by key.

use serde_json::Value;

use super::failure::Failure;
use super::patch::strategic::compares_entries;

/// Nesting of values, as in files (`NESTING_DEPTH_MAX` of the reader). Values are walked
/// recursively, so this also bounds the stack.
pub(super) const DEPTH_MAX: usize = 64;

/// Bytes of a stored object with its managed fields. The same as for a request's body;
/// the limit of etcd is half of that.
const STORED_MAX: usize = 3 << 20;

/// Bytes of all paths to fields. Managed fields are stored by their whole paths, so that
/// a long name counts once for each field below it. A typical object of 1 MiB has half of
/// this.
const PATHS_MAX: usize = 16 << 20;

/// Pairs of entries that are compared where lists merge by key: 2,000 entries in one list.
/// Containers have tens of variables.
const PAIRS_MAX: usize = 4_000_000;

/// Bytes of a step of a path besides its name.
const STEP: usize = 24;

/// The size of a value.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// As JSON, roughly.
    pub bytes: usize,
    pub values: usize,
    pub depth: usize,
    paths: usize,
    pairs: usize,
}

impl Measure {
    /// Measures `value`. What is nested deeper than [`DEPTH_MAX`] counts as too deep and is
    /// not walked.
    pub(super) fn of(value: &Value) -> Self {
        let mut measure = Self::default();
        measure.add("", value, 1, 0);
        measure
    }

    fn add(&mut self, name: &str, value: &Value, depth: usize, path: usize) {
        self.values += 1;
        self.depth = self.depth.max(depth);
        if depth > DEPTH_MAX {
            return;
        }
        match value {
            Value::Array(entries) => {
                self.bytes += 2 + entries.len();
                if compares_entries(name, entries) {
                    self.pairs = self.pairs.saturating_add(entries.len().saturating_pow(2));
                }
                for entry in entries {
                    self.add("", entry, depth + 1, path + STEP);
                }
            }
            Value::Object(fields) => {
                self.bytes += 2 + fields.len();
                for (name, value) in fields {
                    self.bytes += name.len() + 3;
                    self.add(name, value, depth + 1, path + name.len() + STEP);
                }
            }
            Value::String(text) => self.bytes += text.len() + 2,
            Value::Null | Value::Bool(_) => self.bytes += 4,
            Value::Number(_) => self.bytes += 8,
        }
        if !matches!(value, Value::Object(fields) if !fields.is_empty()) {
            self.paths = self.paths.saturating_add(path);
        }
    }
}

/// Checks an object or patch before it is merged or compared.
///
/// # Errors
/// It is nested too deeply or too complex.
pub(super) fn check(value: &Value) -> Result<(), Failure> {
    let Measure {
        depth,
        paths,
        pairs,
        ..
    } = Measure::of(value);
    check_depth(depth)?;
    if paths > PATHS_MAX {
        return Err(Failure::TooLarge(format!(
            "Request entity too large: the paths of its fields take {paths} bytes, limit is \
             {PATHS_MAX}"
        )));
    }
    if pairs > PAIRS_MAX {
        return Err(Failure::TooLarge(
            "Request entity too large: a list merged by key must have at most 2000 entries".into(),
        ));
    }
    Ok(())
}

/// # Errors
/// `depth` is more than [`DEPTH_MAX`].
pub(super) fn check_depth(depth: usize) -> Result<(), Failure> {
    match depth > DEPTH_MAX {
        true => Err(Failure::Unfit(format!(
            "the object would nest more than {DEPTH_MAX} levels deep"
        ))),
        false => Ok(()),
    }
}

/// Checks an object before it is stored.
///
/// # Errors
/// It is too large.
pub(super) fn check_stored(object: &Value) -> Result<(), Failure> {
    match Measure::of(object).bytes > STORED_MAX {
        true => Err(Failure::TooLarge(format!(
            "Request entity too large: limit is {STORED_MAX}"
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn code(value: &Value) -> Option<u64> {
        check(value).err()?.status()["code"].as_u64()
    }

    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({}), |value, _| json!([value]))
    }

    #[test]
    fn deep_values_are_refused() {
        assert_eq!(code(&nested(DEPTH_MAX)), None);
        assert_eq!(code(&nested(DEPTH_MAX + 1)), Some(422));
        assert_eq!(code(&nested(1_000)), Some(422));
    }

    #[test]
    fn long_names_above_many_fields_are_refused() {
        let leaves: Value = (0..5_000)
            .map(|number| (format!("l{number}"), json!(1)))
            .collect();
        assert_eq!(code(&json!({"data": leaves})), None);
        assert_eq!(
            code(&json!({"data": {"x".repeat(4_000): leaves}})),
            Some(413)
        );
    }

    #[test]
    fn long_lists_are_refused_where_entries_are_compared() {
        let entries = vec![json!({"name": "a"}); 2_001];
        assert_eq!(code(&json!({"args": entries})), None);
        assert_eq!(code(&json!({"env": entries})), Some(413));
        assert_eq!(code(&json!({"$setElementOrder/env": entries})), Some(413));
        assert_eq!(code(&json!({"env": entries[1..]})), None);
    }

    #[test]
    fn large_objects_are_not_stored() {
        assert_eq!(
            check_stored(&json!({"data": "x".repeat(3_000_000)})),
            Ok(())
        );
        assert!(check_stored(&json!({"data": "x".repeat(3 << 20)})).is_err());
    }
}
