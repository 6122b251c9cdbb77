//! The problems of an object or of a request, in the words of an API server.

use galleria_manifest::{Code, Diagnostic, codes};
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

    /// A value that is none of `supported`.
    pub(in crate::admin) fn unsupported(field: &str, value: &str, supported: &[&str]) -> Self {
        let supported: Vec<_> = supported.iter().map(|it| format!("\"{it}\"")).collect();
        let supported = supported.join(", ");
        let message = format!("Unsupported value: {value:?}: supported values: {supported}");
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
    for (start, _) in path.match_indices(['.', '[']) {
        let parent = &path[..start];
        let name = parent.rsplit(['.', ']']).next().unwrap_or(parent);
        let is_map = matches!(
            name,
            "labels" | "annotations" | "matchLabels" | "nodeSelector"
        );
        if is_map || parent == "spec.selector" && !path[start..].starts_with(".match") {
            return parent.to_owned();
        }
    }
    for data in ["data", "binaryData", "stringData"] {
        let Some(below) = path.strip_prefix(data) else {
            continue;
        };
        let key = below.strip_prefix('.');
        let quoted = || below.strip_prefix("[\"")?.strip_suffix("\"]");
        if let Some(key) = key.or_else(quoted) {
            return format!("{data}[{key}]");
        }
    }
    path.to_owned()
}

/// The causes that an API server gives for one problem of an object of `kind`.
pub(super) fn causes_of(kind: &str, problem: &Diagnostic) -> Vec<Cause> {
    let is_it = |it: &&Elsewhere| {
        (it.kinds.is_empty() || it.kinds.contains(&kind))
            && it.codes.contains(&problem.code)
            && problem.path.ends_with(it.path)
    };
    let Some(elsewhere) = ELSEWHERE.iter().find(is_it) else {
        let reason = reason_of(problem.code);
        return vec![Cause::new(
            reason,
            &field_of(&problem.path),
            &problem.message,
        )];
    };
    let causes = elsewhere.causes.iter();
    let above = problem
        .path
        .strip_suffix(elsewhere.path)
        .unwrap_or_default();
    let cause = |(reason, field): &(&'static str, &str)| {
        let field = match *field {
            "" => field_of(&problem.path),
            field => format!("{above}{field}"),
        };
        Cause::new(reason, &field, &problem.message)
    };
    causes.map(cause).collect()
}

/// A problem for which an API server gives another reason, or another field.
struct Elsewhere {
    /// All, if it is empty.
    kinds: &'static [&'static str],
    codes: &'static [Code],
    /// The end of the problem's path.
    path: &'static str,
    /// Reasons and fields, in place of that end; an empty field is the problem's.
    causes: &'static [(&'static str, &'static str)],
}

const WORKLOADS: &[&str] = &["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"];
const INVALID: &str = "FieldValueInvalid";
const FORBIDDEN: &str = "FieldValueForbidden";
const REQUIRED: &str = "FieldValueRequired";
const TEMPLATE_LABELS: &str = "spec.template.metadata.labels";

/// The first that fits counts.
const ELSEWHERE: &[Elsewhere] = &[
    Elsewhere {
        kinds: &["Pod"],
        codes: &[codes::MISSING_FIELD],
        path: "spec",
        causes: &[(REQUIRED, "spec.containers")],
    },
    Elsewhere {
        kinds: WORKLOADS,
        codes: &[codes::MISSING_FIELD],
        path: "spec.template",
        causes: &[
            (INVALID, TEMPLATE_LABELS),
            (REQUIRED, "spec.template.spec.containers"),
        ],
    },
    Elsewhere {
        kinds: WORKLOADS,
        codes: &[codes::MISSING_FIELD],
        path: "spec.selector",
        causes: &[(REQUIRED, "spec.selector"), (INVALID, TEMPLATE_LABELS)],
    },
    Elsewhere {
        kinds: WORKLOADS,
        codes: &[codes::SELECTOR],
        path: "spec.selector",
        causes: &[(INVALID, TEMPLATE_LABELS)],
    },
    Elsewhere {
        kinds: WORKLOADS,
        codes: &[codes::INVALID_VALUE],
        path: "spec.template.spec.restartPolicy",
        causes: &[("FieldValueNotSupported", "")],
    },
    Elsewhere {
        kinds: &["Job", "CronJob"],
        codes: &[codes::INVALID_VALUE],
        path: "spec.template.spec.restartPolicy",
        causes: &[(REQUIRED, "")],
    },
    Elsewhere {
        kinds: &["Deployment"],
        codes: &[codes::UNKNOWN_CHOICE],
        path: "spec.strategy.type",
        causes: &[("FieldValueNotSupported", "spec.strategy")],
    },
    Elsewhere {
        kinds: &["HorizontalPodAutoscaler"],
        codes: &[codes::MISSING_FIELD],
        path: "spec.maxReplicas",
        causes: &[(INVALID, ""), (REQUIRED, "")],
    },
    Elsewhere {
        kinds: &["PodDisruptionBudget"],
        codes: &[codes::EXCLUSIVE_FIELDS],
        path: "spec.maxUnavailable",
        causes: &[(INVALID, "spec")],
    },
    // The data of an immutable object.
    Elsewhere {
        kinds: &["ConfigMap", "Secret"],
        codes: &[codes::INVALID_VALUE],
        path: "data",
        causes: &[(FORBIDDEN, "")],
    },
    Elsewhere {
        kinds: &["ConfigMap"],
        codes: &[codes::INVALID_VALUE],
        path: "binaryData",
        causes: &[(FORBIDDEN, "")],
    },
    Elsewhere {
        kinds: &["ConfigMap", "Secret"],
        codes: &[codes::INVALID_VALUE],
        path: "immutable",
        causes: &[(FORBIDDEN, "")],
    },
    Elsewhere {
        kinds: &["ConfigMap"],
        codes: &[codes::EXCLUSIVE_FIELDS],
        path: "",
        causes: &[(INVALID, "")],
    },
    Elsewhere {
        kinds: &["Ingress"],
        codes: &[codes::MISSING_FIELD],
        path: "spec.rules",
        causes: &[(INVALID, "spec")],
    },
    Elsewhere {
        kinds: &["PersistentVolumeClaim"],
        codes: &[codes::MISSING_FIELD],
        path: "spec.resources",
        causes: &[(REQUIRED, "spec.resources[storage]")],
    },
    Elsewhere {
        kinds: &[],
        codes: &[codes::MISSING_FIELD],
        path: ".httpGet.port",
        causes: &[(INVALID, "")],
    },
    Elsewhere {
        kinds: &[],
        codes: &[codes::EXCLUSIVE_FIELDS],
        path: ".valueFrom",
        causes: &[(INVALID, "")],
    },
    Elsewhere {
        kinds: &[],
        codes: &[codes::VOLUME],
        path: ".name",
        causes: &[("FieldValueNotFound", "")],
    },
];

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
        codes::UNKNOWN_CHOICE => "FieldValueNotSupported",
        codes::DUPLICATE_NAME => "FieldValueDuplicate",
        codes::LIMIT => "FieldValueTooLong",
        codes::EXCLUSIVE_FIELDS => "FieldValueForbidden",
        _ => "FieldValueInvalid",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_an_api_server() {
        for (path, field) in [
            ("metadata.labels[\"a/b/c\"]", "metadata.labels"),
            ("metadata.annotations.a", "metadata.annotations"),
            (
                "spec.template.metadata.labels.app",
                "spec.template.metadata.labels",
            ),
            ("spec.selector.app", "spec.selector"),
            ("spec.selector.matchLabels.app", "spec.selector.matchLabels"),
            ("spec.selector", "spec.selector"),
            ("data[\"a b\"]", "data[a b]"),
            ("binaryData.a", "binaryData[a]"),
            ("spec.ports[0].name", "spec.ports[0].name"),
        ] {
            assert_eq!(field_of(path), field, "{path}");
        }
    }
}
