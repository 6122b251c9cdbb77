//! The problems of an object or of a request, in the words of an API server.

use galleria_manifest::{Code, codes};
use serde_json::{Value, json};

/// One problem of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// `FieldValueInvalid` and its siblings.
    pub reason: &'static str,
    /// A path such as `spec.replicas`; empty if it concerns the whole object.
    pub field: String,
    pub message: String,
}

impl Cause {
    /// A value that the field cannot have.
    pub(in crate::admin) fn invalid(field: &str, message: impl Into<String>) -> Self {
        Self::new("FieldValueInvalid", field, message)
    }

    /// A value that is none of those that the field can have.
    pub(in crate::admin) fn not_supported(field: &str, message: impl Into<String>) -> Self {
        Self::new("FieldValueNotSupported", field, message)
    }

    /// A field that must be present.
    pub(in crate::admin) fn required(field: &str, message: impl Into<String>) -> Self {
        Self::new("FieldValueRequired", field, message)
    }

    /// A field that must be absent, or must not change.
    pub(in crate::admin) fn forbidden(field: &str, message: impl Into<String>) -> Self {
        Self::new("FieldValueForbidden", field, message)
    }

    pub(super) fn new(reason: &'static str, field: &str, message: impl Into<String>) -> Self {
        Self {
            reason,
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// The message of a failure with these causes.
pub(super) fn message(group: &str, kind: &str, name: &str, causes: &[Cause]) -> String {
    let one = |Cause { field, message, .. }: &Cause| match field.is_empty() {
        true => message.clone(),
        false => format!("{field}: {message}"),
    };
    let causes: Vec<_> = causes.iter().map(one).collect();
    let what = match group {
        "" => kind.to_owned(),
        group => format!("{kind}.{group}"),
    };
    match causes.as_slice() {
        [one] => format!("{what} \"{name}\" is invalid: {one}"),
        all => format!("{what} \"{name}\" is invalid: [{}]", all.join(", ")),
    }
}

/// As in the details of a `Status`.
pub(super) fn listed(causes: &[Cause]) -> Value {
    let cause = |cause: &Cause| {
        let Cause {
            reason,
            field,
            message,
        } = cause;
        json!({"reason": reason, "field": field, "message": message})
    };
    causes.iter().map(cause).collect()
}

/// How an API server names the place of a problem: it does not name single labels, and writes
/// keys of data in brackets.
pub(super) fn field_of(path: &str) -> String {
    for labels in ["metadata.labels", "metadata.annotations", "spec.selector"] {
        let below = path.strip_prefix(labels);
        if below.is_some_and(|below| below.starts_with('.'))
            && !below.is_some_and(|below| below.starts_with(".match"))
        {
            return labels.to_owned();
        }
    }
    for data in ["data", "binaryData", "stringData"] {
        let below = path.strip_prefix(data);
        if let Some(key) = below.and_then(|below| below.strip_prefix('.')) {
            return format!("{data}[{key}]");
        }
    }
    path.to_owned()
}

/// Whether a value is not of the type of its field, so that an API server does not come to
/// validate it.
pub(super) fn is_undecodable(code: Code) -> bool {
    matches!(
        code,
        codes::WRONG_TYPE | codes::AMBIGUOUS_SCALAR | codes::BASE64
    )
}

/// The reason that an API server gives for a problem with this code.
pub(super) fn reason_of(code: Code) -> &'static str {
    match code {
        codes::MISSING_FIELD => "FieldValueRequired",
        codes::DUPLICATE_NAME => "FieldValueDuplicate",
        codes::LIMIT => "FieldValueTooLong",
        codes::EXCLUSIVE_FIELDS => "FieldValueForbidden",
        _ => "FieldValueInvalid",
    }
}
