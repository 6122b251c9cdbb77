//! The tree as JSON, which the API shows.

use serde_json::{Map, Number, Value as Json};

use super::{Node, Resolved, Scalar, Value};

/// Converts a node, with scalars by YAML's core schema.
pub(crate) fn to_json(node: &Node) -> Json {
    match &node.value {
        Value::Scalar(scalar) => scalar_to_json(scalar),
        Value::Sequence(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Mapping(entries) => Json::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), to_json(&entry.value)))
                .collect::<Map<_, _>>(),
        ),
    }
}

fn scalar_to_json(scalar: &Scalar) -> Json {
    let text = || Json::String(scalar.text.clone());
    match scalar.resolve() {
        Resolved::Null => Json::Null,
        Resolved::Bool(value) => Json::Bool(value),
        Resolved::Int(value) => Number::from_i128(value).map_or_else(text, Json::Number),
        Resolved::Float(value) => Number::from_f64(value).map_or_else(text, Json::Number),
        Resolved::Text => text(),
    }
}
