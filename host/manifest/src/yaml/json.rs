//! Trees from JSON values, as an API receives them, and JSON values from trees.

use serde_json::{Map, Number, Value as Json};

use super::build::{too_deep, too_many_nodes};
use super::{Entry, Mark, Node, Problem, ResolvedScalar, Scalar, Style, Value};
use crate::limits::{NESTING_DEPTH_MAX, NODES_PER_FILE_MAX};

/// The tree of a JSON value.
///
/// A JSON value has no positions in a text. Its marks have line 0, and their column
/// counts keys and values in the order of the document, so that diagnostics sort as
/// those of a file do.
///
/// # Errors
/// The value exceeds a limit of [`crate::limits`].
pub(crate) fn from_json(value: &Json) -> Result<Node, Problem> {
    Builder::default().node(value, 0)
}

#[derive(Default)]
struct Builder {
    /// Keys and values so far.
    count: u32,
}

impl Builder {
    fn node(&mut self, value: &Json, depth: usize) -> Result<Node, Problem> {
        let mark = self.next()?;
        if depth == NESTING_DEPTH_MAX && (value.is_array() || value.is_object()) {
            return Err(too_deep(mark));
        }
        let scalar = |text: String, style| {
            let lead = None;
            Value::Scalar(Scalar { text, style, lead })
        };
        let value = match value {
            Json::Null => scalar("null".to_owned(), Style::Plain),
            Json::Bool(value) => scalar(value.to_string(), Style::Plain),
            Json::Number(number) => scalar(number.to_string(), Style::Plain),
            Json::String(text) => scalar(text.clone(), Style::Text),
            Json::Array(items) => {
                let items = items.iter().map(|item| self.node(item, depth + 1));
                Value::Sequence(items.collect::<Result<_, _>>()?)
            }
            Json::Object(fields) => {
                let fields = fields.iter().map(|(key, value)| {
                    Ok(Entry {
                        key: key.clone(),
                        key_mark: self.next()?,
                        value: self.node(value, depth + 1)?,
                    })
                });
                Value::Mapping(fields.collect::<Result<_, Problem>>()?)
            }
        };
        Ok(Node { mark, value })
    }

    fn next(&mut self) -> Result<Mark, Problem> {
        self.count += 1;
        let mark = Mark {
            line: 0,
            column: self.count,
        };
        match self.count as usize > NODES_PER_FILE_MAX {
            true => Err(too_many_nodes(mark)),
            false => Ok(mark),
        }
    }
}

/// The JSON value of a node, with the scalars of YAML's core schema.
pub(crate) fn to_json(node: &Node) -> Json {
    with_scalars(node, scalar_to_json)
}

/// The JSON value of a node as a cluster reads it, which knows the booleans of YAML 1.1.
pub(crate) fn to_json_of_cluster(node: &Node) -> Json {
    with_scalars(node, |scalar| match scalar.old_boolean() {
        Some(value) => Json::Bool(value),
        None => scalar_to_json(scalar),
    })
}

fn with_scalars(node: &Node, read: fn(&Scalar) -> Json) -> Json {
    match &node.value {
        Value::Scalar(scalar) => read(scalar),
        Value::Sequence(items) => {
            Json::Array(items.iter().map(|it| with_scalars(it, read)).collect())
        }
        Value::Mapping(entries) => Json::Object(
            entries
                .iter()
                .map(|entry| (entry.key.clone(), with_scalars(&entry.value, read)))
                .collect::<Map<_, _>>(),
        ),
    }
}

fn scalar_to_json(scalar: &Scalar) -> Json {
    let text = || Json::String(scalar.text.clone());
    match scalar.resolve() {
        ResolvedScalar::Null => Json::Null,
        ResolvedScalar::Bool(value) => Json::Bool(value),
        ResolvedScalar::Int(value) => Number::from_i128(value).map_or_else(text, Json::Number),
        ResolvedScalar::Float(value) => Number::from_f64(value).map_or_else(text, Json::Number),
        ResolvedScalar::Text => text(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_booleans_of_yaml_1_1_are_booleans_of_a_cluster() {
        let read = |text| crate::yaml_to_json(text).expect("YAML");
        let text = "[off, \"off\", y, true, offer]";
        assert_eq!(read(text), json!([false, "off", true, true, "offer"]));
        let documents = crate::yaml_documents("[off]").expect("YAML");
        assert_eq!(documents, [json!(["off"])]);
    }

    #[test]
    fn json_value_survives_the_tree() {
        let value = json!({
            "text": ["", "80", "true", "null", "a: b\n# c\u{85}\u{1}", "\u{1f600}"],
            "other": [null, true, 80, -1, 1.5, 1e300, u64::MAX],
            "<<": {"a": {}},
            "k".repeat(2_000): [],
        });
        let node = from_json(&value).expect("within limits");
        assert_eq!(to_json(&node), value);
    }

    #[test]
    fn marks_follow_the_order_of_the_document() {
        let node = from_json(&json!({"a": [1, 2], "b": 3})).expect("within limits");
        let column = |node: Option<&Node>| node.map(|node| (node.mark.line, node.mark.column));
        assert_eq!(column(Some(&node)), Some((0, 1)));
        assert_eq!(column(node.get("a")), Some((0, 3)));
        assert_eq!(column(node.get("b")), Some((0, 7)));
    }

    #[test]
    fn values_beyond_the_limits_are_refused() {
        let nested = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        assert!(from_json(&nested(NESTING_DEPTH_MAX)).is_ok());
        let problem = from_json(&nested(NESTING_DEPTH_MAX + 1)).expect_err("too deep");
        assert!(problem.message.contains("levels deep"));
        let problem = from_json(&json!(vec![1; NODES_PER_FILE_MAX])).expect_err("too many");
        assert!(problem.message.contains("values in one file"));
    }
}
