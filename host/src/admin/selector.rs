//! Label and field selectors of lists and watches.

use serde_json::Value;

use super::failure::Failure;
use super::kind::Kind;

/// Bytes of a selector: about as many as fit into a URL.
const LENGTH_MAX: usize = 16 << 10;

/// The labels and fields that an object must have. The default matches every object.
#[derive(Debug, Default, Clone)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    NotExists(String),
}

#[derive(Debug, Clone)]
struct FieldRequirement {
    /// The segments of the path.
    path: Vec<String>,
    equal: bool,
    value: String,
}

impl Selector {
    /// # Errors
    /// A selector that does not parse, or a field by which `kind` cannot be selected.
    pub(super) fn new(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Failure> {
        if labels.len() > LENGTH_MAX || fields.len() > LENGTH_MAX {
            return Err(Failure::BadRequest(format!(
                "a selector must have at most {LENGTH_MAX} bytes"
            )));
        }
        let labels = split(labels).into_iter().map(requirement);
        let fields = fields.split(',').filter(|text| !text.is_empty());
        Ok(Self {
            labels: labels.collect::<Result<_, _>>()?,
            fields: fields
                .map(|text| field(kind, text))
                .collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |key: &str| labels.get(key).and_then(Value::as_str);
        let labels = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                label(key).is_some_and(|value| values.iter().any(|it| it == value))
            }
            Requirement::NotIn(key, values) => {
                label(key).is_none_or(|value| values.iter().all(|it| it != value))
            }
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::NotExists(key) => label(key).is_none(),
        });
        labels && self.fields.iter().all(|field| field.matches(object))
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Value) -> bool {
        let segments = self.path.iter();
        let found = segments.fold(object, |value, name| &value[name.as_str()]);
        let text = match found {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        (text == self.value) == self.equal
    }
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let parts = text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect()
}

fn requirement(text: &str) -> Result<Requirement, Failure> {
    let bad = || {
        Failure::BadRequest(format!(
            "unable to parse requirement: `{}`; write `key=value`, `key!=value`, `key in (a,b)`, \
             `key notin (a,b)`, `key` or `!key`",
            text.chars().take(100).collect::<String>()
        ))
    };
    let key = |key: &str| {
        let key = key.trim();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
        match !key.is_empty() && key.bytes().all(allowed) {
            true => Ok(key.to_owned()),
            false => Err(bad()),
        }
    };
    let value = |value: &str| {
        let value = value.trim();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        match value.bytes().all(allowed) {
            true => Ok(value.to_owned()),
            false => Err(bad()),
        }
    };
    if let Some((left, values)) = text.split_once('(') {
        let values = values.trim_end().strip_suffix(')').ok_or_else(bad)?;
        let values = values.split(',').map(value).collect::<Result<_, _>>()?;
        let (name, operator) = left.trim().rsplit_once(' ').ok_or_else(bad)?;
        return match operator {
            "in" => Ok(Requirement::In(key(name)?, values)),
            "notin" => Ok(Requirement::NotIn(key(name)?, values)),
            _ => Err(bad()),
        };
    }
    if let Some((name, not)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name)?, vec![value(not)?]));
    }
    if let Some((name, equal)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name)?, vec![value(equal)?]));
    }
    match text.strip_prefix('!') {
        Some(name) => Ok(Requirement::NotExists(key(name)?)),
        None => Ok(Requirement::Exists(key(text)?)),
    }
}

fn field(kind: &Kind, text: &str) -> Result<FieldRequirement, Failure> {
    let not = text.split_once("!=").map(|parts| (parts, false));
    let equal = || {
        let parts = text.split_once("==").or_else(|| text.split_once('='))?;
        Some((parts, true))
    };
    let Some(((path, value), equal)) = not.or_else(equal) else {
        let message = format!("invalid field selector `{text}`; write `field=value`");
        return Err(Failure::BadRequest(message));
    };
    let everywhere = ["metadata.name", "metadata.namespace"];
    if !everywhere.contains(&path) && !kind.field_selectors.contains(&path) {
        return Err(Failure::BadRequest(format!(
            "field label not supported: {path}"
        )));
    }
    // Selectors name the component that reported an event by its parent field.
    let path = match path {
        "source" => "source.component",
        path => path,
    };
    Ok(FieldRequirement {
        path: path.split('.').map(str::to_owned).collect(),
        equal,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pods(labels: &str, fields: &str) -> Result<Selector, Failure> {
        Selector::new(Kind::at("", "v1", "pods").expect("pods"), labels, fields)
    }

    #[test]
    fn label_selectors_of_kubectl_are_supported() {
        let pod = json!({"metadata": {"labels": {"app": "ui", "version": "v2"}}});
        for (text, expected) in [
            ("", true),
            ("app=ui", true),
            ("app==ui,version=v2", true),
            ("app=ui,version!=v2", false),
            ("tier!=x", true),
            ("version in (v1, v2)", true),
            ("version notin (v1,v2),app", false),
            ("app", true),
            ("!app", false),
            ("!tier", true),
        ] {
            let selector = pods(text, "").expect(text);
            assert_eq!(selector.matches(&pod), expected, "{text}");
        }
    }

    #[test]
    fn field_selectors_are_those_of_the_kind() {
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        for (text, expected) in [
            ("metadata.name=a", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=", true),
            ("status.phase=Running,metadata.name=b", false),
        ] {
            let selector = pods("", text).expect(text);
            assert_eq!(selector.matches(&pod), expected, "{text}");
        }
        let unknown = pods("", "spec.color=red").expect_err("unknown");
        assert_eq!(unknown.to_string(), "field label not supported: spec.color");
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for text in ["app in v1", "app in (v1", "a b", "app=%", "=x", "in (a)"] {
            assert!(pods(text, "").is_err(), "{text}");
        }
        assert!(pods("", "name").is_err());
        assert!(pods(&"a,".repeat(10_000), "").is_err());
    }
}
