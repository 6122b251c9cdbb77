//! Objects that are applied together.

use galleria_manifest::yaml_documents;
use serde_json::Value;

use crate::judge::ValidationCase;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) number: usize,
    pub(super) objects: Vec<Value>,
    /// What was changed in them.
    pub(super) changes: Vec<String>,
}

impl Case {
    /// The case with the objects of two YAML texts, as they are.
    pub(super) fn example(text: &str, others: &str) -> Self {
        Self {
            number: 0,
            objects: [documents(text), documents(others)].concat(),
            changes: Vec::new(),
        }
    }

    pub(super) fn for_judge(&self) -> ValidationCase<'_> {
        ValidationCase {
            objects: &self.objects,
        }
    }

    /// One document in two lines: a separator, and the object.
    pub(super) fn manifest(&self) -> String {
        let objects = self.objects.iter();
        objects.map(|object| format!("---\n{object}\n")).collect()
    }
}

/// The objects of a text of this program.
///
/// # Panics
/// If it is not YAML.
pub(super) fn documents(text: &str) -> Vec<Value> {
    yaml_documents(text).expect("the texts of this program are YAML")
}

/// `kind`, namespace and name of an object.
pub(super) fn identity(object: &Value) -> [&str; 3] {
    let metadata = &object["metadata"];
    [&object["kind"], &metadata["namespace"], &metadata["name"]]
        .map(|it| it.as_str().unwrap_or_default())
}
