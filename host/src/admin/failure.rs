//! Why a request to the admin API fails, as a Kubernetes `Status`.
//!
//! This is the only file that maps failures to codes and reasons. A message is for the
//! user of kubectl and never contains a value of a Secret or a token.

use axum::body::Body;
use galleria_manifest::{Diagnostic, Severity};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::kind::Kind;
use crate::store::is_place;
use crate::writes::{STOPPING, WriteError};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("too many wrong tokens; wait a second")]
    TooManyGuesses,
    #[error("{0}")]
    Forbidden(String),
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    #[error("{} \"{name}\" not found", kind.resource())]
    NotFound { kind: &'static Kind, name: String },
    #[error("{0}")]
    BadRequest(String),
    #[error("the server does not allow this method on the requested resource")]
    MethodNotAllowed,
    #[error("too old resource version: {requested} (oldest kept: {oldest})")]
    Expired { requested: u64, oldest: u64 },
    #[error("too many requests: {0}")]
    TooManyRequests(&'static str),
    #[error("Cannot evict pod as it would violate the pod's disruption budget.")]
    DisruptionBudget { budget: String },
    #[error("{} \"{name}\" already exists", kind.resource())]
    AlreadyExists { kind: &'static Kind, name: String },
    #[error(
        "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply \
         your changes to the latest version and try again",
        kind.resource()
    )]
    Conflict { kind: &'static Kind, name: String },
    #[error("{}", conflicts(.0))]
    ApplyConflict(Vec<(String, String)>),
    #[error("{}", invalid(kind, name, causes))]
    Invalid {
        kind: &'static Kind,
        name: String,
        causes: Vec<Cause>,
    },
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("unsupported media type `{0}`")]
    UnsupportedMediaType(String),
    #[error("{0}")]
    Unavailable(String),
}

/// One problem of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// A path such as `spec.replicas`; empty if it concerns the whole object.
    pub field: String,
    pub message: String,
}

fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> String {
    let one = |Cause { field, message }: &Cause| match field.is_empty() {
        true => message.clone(),
        false => format!("{field}: {message}"),
    };
    let causes: Vec<_> = causes.iter().map(one).collect();
    let what = match kind.group {
        "" => kind.kind.to_owned(),
        group => format!("{}.{group}", kind.kind),
    };
    match causes.as_slice() {
        [one] => format!("{what} \"{name}\" is invalid: {one}"),
        all => format!("{what} \"{name}\" is invalid: [{}]", all.join(", ")),
    }
}

fn conflicts(conflicts: &[(String, String)]) -> String {
    let one = |(manager, path): &(String, String)| format!("conflict with {manager}: {path}");
    let all: Vec<_> = conflicts.iter().map(one).collect();
    let count = all.len();
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    format!("Apply failed with {count} {noun}: {}", all.join("\n"))
}

impl Failure {
    pub(super) fn exists(kind: &'static Kind, name: &str) -> Self {
        let name = name.to_owned();
        Self::AlreadyExists { kind, name }
    }

    pub(super) fn conflict(kind: &'static Kind, name: &str) -> Self {
        let name = name.to_owned();
        Self::Conflict { kind, name }
    }

    pub(super) fn invalid(kind: &'static Kind, name: &str, problems: &[Diagnostic]) -> Self {
        let errors = problems.iter().filter(|it| it.severity == Severity::Error);
        let own = format!("{}/{name}", kind.kind);
        let cause = |it: &Diagnostic| match &it.object {
            Some(other) if *other != own => Cause {
                field: String::new(),
                // Objects of the API have no file whose line could be named.
                message: match is_place(&it.at.file) {
                    true => format!("{other}: {}: {}", it.path, it.message),
                    false => it.to_string(),
                },
            },
            _ => Cause {
                field: it.path.clone(),
                message: it.message.clone(),
            },
        };
        Self::Invalid {
            kind,
            name: name.to_owned(),
            causes: errors.map(cause).collect(),
        }
    }

    /// Why the control loop did not apply a write of `name`.
    pub(super) fn of(error: WriteError, kind: &'static Kind, name: &str) -> Self {
        match error {
            WriteError::Changed => Self::conflict(kind, name),
            WriteError::Disruption { budget } => Self::DisruptionBudget { budget },
            WriteError::NotPersisted(why) => Self::Unavailable(why),
            WriteError::Stopping => Self::Unavailable(STOPPING.to_owned()),
            WriteError::Invalid(problems) => Self::invalid(kind, name, &problems),
            WriteError::Impossible(why) => Self::Invalid {
                kind,
                name: name.to_owned(),
                causes: vec![Cause {
                    field: String::new(),
                    message: why,
                }],
            },
        }
    }

    pub(super) fn code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NoSuchPath | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expired { .. } => StatusCode::GONE,
            Self::AlreadyExists { .. } | Self::Conflict { .. } | Self::ApplyConflict(_) => {
                StatusCode::CONFLICT
            }
            Self::Invalid { .. } | Self::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooManyGuesses | Self::TooManyRequests(_) | Self::DisruptionBudget { .. } => {
                StatusCode::TOO_MANY_REQUESTS
            }
        }
    }

    /// What clients make decisions by.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden(_) => "Forbidden",
            Self::NoSuchPath | Self::NotFound { .. } => "NotFound",
            Self::BadRequest(_) => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Expired { .. } => "Expired",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. } | Self::ApplyConflict(_) => "Conflict",
            Self::Invalid { .. } | Self::Unfit(_) => "Invalid",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::UnsupportedMediaType(_) => "UnsupportedMediaType",
            Self::Unavailable(_) => "ServiceUnavailable",
            Self::TooManyGuesses | Self::TooManyRequests(_) | Self::DisruptionBudget { .. } => {
                "TooManyRequests"
            }
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::NotFound { kind, name }
            | Self::AlreadyExists { kind, name }
            | Self::Conflict { kind, name } => {
                json!({"name": name, "group": kind.group, "kind": kind.plural})
            }
            Self::Invalid { kind, name, causes } => {
                let cause = |Cause { field, message }: &Cause| json!({"reason": "FieldValueInvalid", "field": field, "message": message});
                let causes: Vec<_> = causes.iter().map(cause).collect();
                json!({"name": name, "group": kind.group, "kind": kind.kind, "causes": causes})
            }
            Self::ApplyConflict(conflicts) => {
                let cause = |(manager, field): &(String, String)| {
                    let message = format!("conflict with {manager}");
                    json!({"reason": "FieldManagerConflict", "field": field, "message": message})
                };
                json!({"causes": conflicts.iter().map(cause).collect::<Vec<_>>()})
            }
            Self::TooManyGuesses | Self::TooManyRequests(_) => json!({"retryAfterSeconds": 1}),
            Self::DisruptionBudget { budget } => {
                let message = format!("The disruption budget {budget} does not allow it now");
                json!({"causes": [{"reason": "DisruptionBudget", "message": message}]})
            }
            _ => json!({}),
        }
    }

    /// The object, for a response or for an event of a watch.
    pub(crate) fn status(&self) -> Value {
        json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": self.reason(),
            "details": self.details(),
            "code": self.code().as_u16(),
        })
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.status().to_string()));
        *response.status_mut() = self.code();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.code() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code() == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
