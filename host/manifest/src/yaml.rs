//! YAML, of which JSON is a subset, as a tree with the position of every key and value.
//!
//! The tree has what the decoder needs to explain a mistake: positions, whether a scalar is
//! quoted, and the order of keys. It is independent of Kubernetes.

mod build;
mod json;
mod keys;
mod lines;
mod parse;
mod scalar;
mod syntax;

use json::to_json_of_cluster;
pub(crate) use json::{from_json, to_json};
pub(crate) use parse::parse;
pub(crate) use scalar::{ResolvedScalar, Scalar, Style};

use crate::Code;

/// Converts one document of YAML or JSON as a cluster does, where `off` is a boolean unless it is
/// in quotes.
///
/// # Errors
/// It is malformed or empty, or there is more than one document.
pub fn yaml_to_json(text: &str) -> Result<serde_json::Value, String> {
    let documents = documents(text, to_json_of_cluster)?;
    <[_; 1]>::try_from(documents)
        .map(|[one]| one)
        .map_err(|all| format!("one document is expected, not {}", all.len()))
}

/// Converts all documents of a YAML or JSON text, without interpreting them.
///
/// # Errors
/// It is malformed.
pub fn yaml_documents(text: &str) -> Result<Vec<serde_json::Value>, String> {
    documents(text, to_json)
}

fn documents(
    text: &str,
    convert: fn(&Node) -> serde_json::Value,
) -> Result<Vec<serde_json::Value>, String> {
    let parsed = parse(text);
    if let Some(Problem { mark, message, .. }) = parsed.problems.first() {
        return Err(format!("{}:{}: {message}", mark.line, mark.column));
    }
    Ok(parsed.documents.iter().map(convert).collect())
}

/// A position in the text; lines and columns count from 1.
///
/// In a tree that was built from a JSON value, the line is 0 and the column counts keys
/// and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// A value with the position of its beginning.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_mark: Mark,
    pub(crate) value: Node,
}

/// A problem of the text itself.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) mark: Mark,
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Node {
    /// The value under `key` of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Mapping(entries) => entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value),
            _ => None,
        }
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// `null`, `~` or an absent value.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.resolve() == ResolvedScalar::Null)
    }
}
