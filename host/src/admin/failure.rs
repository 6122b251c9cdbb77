//! Why a request to the admin API fails, as a Kubernetes `Status`.
//!
//! This is the only file that maps failures to codes and reasons. A message is for the
//! user of kubectl and never contains a value of a Secret or a token.

mod cause;

pub(crate) use cause::Cause;

use axum::body::Body;
use galleria_manifest::{Diagnostic, Severity};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::kind::Kind;
use crate::store::is_place;
use crate::writes::{STOPPING, WriteError};
use cause::{causes_of, is_undecodable, listed, message};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("Unauthorized")]
    Unauthorized,
    #[error("too many wrong tokens; wait a second")]
    TooManyGuesses,
    #[error("{0}")]
    Forbidden(String),
    #[error("{} \"{name}\" is forbidden: {why}", kind.resource())]
    ForbiddenObject {
        kind: &'static Kind,
        name: String,
        why: &'static str,
    },
    /// The group is served, but has no such resource.
    #[error("the server could not find the requested resource")]
    NoSuchPath,
    /// No group that is served has the path.
    #[error("404 page not found")]
    NoSuchPage,
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
    /// The object is not the one that a client wants to delete.
    #[error(
        "Operation cannot be fulfilled on {} \"{name}\": it does not have the uid or the \
         resourceVersion of the precondition; read it again",
        kind.kind
    )]
    Precondition { kind: &'static Kind, name: String },
    #[error(
        "Operation cannot be fulfilled on pods/binding \"{0}\": the host has assigned pod {0} to \
         its node"
    )]
    Bound(String),
    #[error("{}", conflicts(.0))]
    ApplyConflict(Vec<(String, String)>),
    #[error("{}", message(kind.group, kind.kind, name, causes))]
    Invalid {
        kind: &'static Kind,
        name: String,
        causes: Vec<Cause>,
    },
    /// Invalid parameters, or another body than an object of the kind, such as a `Scale`.
    #[error("{}", message(group, kind, name, causes))]
    InvalidBody {
        group: &'static str,
        kind: &'static str,
        name: String,
        causes: Vec<Cause>,
    },
    #[error("Timeout: Too large resource version: {requested}, current: {newest}")]
    FutureVersion { requested: u64, newest: u64 },
    #[error("only the following media types are accepted: {ACCEPTED}")]
    NotAcceptable,
    #[error("{0}")]
    Unfit(String),
    #[error("{0}")]
    TooLarge(String),
    #[error("unsupported media type `{0}`")]
    UnsupportedMediaType(String),
    #[error("unsupported media type `{0}` of a patch")]
    UnsupportedPatch(String),
    #[error("{0}")]
    Unavailable(String),
}

/// What a client may accept, as messages list it.
const ACCEPTED: &str = "application/json";

/// The group of the options of requests.
pub(super) const META: &str = "meta.k8s.io";

/// Adds what a failure is about to its details; what is empty is left out.
fn named(group: &str, kind: &str, name: &str, mut details: Value) -> Value {
    for (field, text) in [("group", group), ("kind", kind), ("name", name)] {
        if !text.is_empty() {
            details[field] = text.into();
        }
    }
    details
}

fn conflicts(conflicts: &[(String, String)]) -> String {
    let one = |(manager, path): &(String, String)| format!("conflict with {manager}: {path}");
    let all: Vec<_> = conflicts.iter().map(one).collect();
    let count = all.len();
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    format!("Apply failed with {count} {noun}: {}", all.join("\n"))
}

impl Failure {
    /// The request has wrong parameters, which an API server calls `kind`.
    pub(super) fn options(kind: &'static str, causes: Vec<Cause>) -> Self {
        Self::InvalidBody {
            group: META,
            kind,
            name: String::new(),
            causes,
        }
    }

    /// A patch makes something of an object that is none of its kind.
    pub(super) fn patch(message: String) -> Self {
        Self::InvalidBody {
            group: "",
            kind: "",
            name: String::new(),
            causes: vec![Cause::invalid("patch", message)],
        }
    }

    pub(super) fn exists(kind: &'static Kind, name: &str) -> Self {
        let name = name.to_owned();
        Self::AlreadyExists { kind, name }
    }

    pub(super) fn conflict(kind: &'static Kind, name: &str) -> Self {
        let name = name.to_owned();
        Self::Conflict { kind, name }
    }

    /// An object that cannot be decoded, or is invalid. A cluster decodes custom resources in
    /// every form.
    pub(super) fn of_object(
        kind: &'static Kind,
        name: &str,
        problems: &[Diagnostic],
        is_patch: bool,
    ) -> Self {
        let errors = problems.iter().filter(|it| it.severity == Severity::Error);
        let (mut wrong, others): (Vec<_>, Vec<_>) = errors.partition(|it| is_undecodable(it.code));
        if kind.is_custom || wrong.is_empty() {
            return Self::invalid(kind, name, problems);
        }
        wrong.extend(others);
        let wrong = wrong
            .iter()
            .map(|it| format!("{}: {}", it.path, it.message));
        let wrong = wrong.collect::<Vec<_>>().join(", ");
        match is_patch {
            true => Self::patch(wrong),
            false => Self::BadRequest(format!(
                "the object cannot be handled as a {}: {wrong}",
                kind.kind
            )),
        }
    }

    /// An object with the problems of the reader of manifests.
    pub(super) fn invalid(kind: &'static Kind, name: &str, problems: &[Diagnostic]) -> Self {
        let errors = problems.iter().filter(|it| it.severity == Severity::Error);
        let own = format!("{}/{name}", kind.kind);
        let causes = |it: &Diagnostic| match &it.object {
            Some(other) if *other != own => vec![Cause::invalid(
                "",
                // Objects of the API have no file whose line could be named.
                match is_place(&it.at.file) {
                    true => format!("{other}: {}: {}", it.path, it.message),
                    false => it.to_string(),
                },
            )],
            _ => causes_of(kind.kind, it),
        };
        Self::Invalid {
            kind,
            name: name.to_owned(),
            causes: errors.flat_map(causes).collect(),
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
                causes: vec![Cause::invalid("", why)],
            },
        }
    }

    pub(super) fn code(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) | Self::ForbiddenObject { .. } => StatusCode::FORBIDDEN,
            Self::NoSuchPath | Self::NoSuchPage | Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expired { .. } => StatusCode::GONE,
            Self::AlreadyExists { .. }
            | Self::Conflict { .. }
            | Self::Precondition { .. }
            | Self::Bound(_)
            | Self::ApplyConflict(_) => StatusCode::CONFLICT,
            Self::Invalid { .. } | Self::InvalidBody { .. } | Self::Unfit(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::FutureVersion { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType(_) | Self::UnsupportedPatch(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
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
            Self::Forbidden(_) | Self::ForbiddenObject { .. } => "Forbidden",
            Self::NoSuchPath | Self::NoSuchPage | Self::NotFound { .. } => "NotFound",
            Self::BadRequest(_) => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Expired { .. } => "Expired",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Conflict { .. }
            | Self::Precondition { .. }
            | Self::Bound(_)
            | Self::ApplyConflict(_) => "Conflict",
            Self::Invalid { .. } | Self::InvalidBody { .. } | Self::Unfit(_) => "Invalid",
            Self::FutureVersion { .. } => "Timeout",
            Self::NotAcceptable => "NotAcceptable",
            Self::TooLarge(_) => "RequestEntityTooLarge",
            Self::UnsupportedMediaType(_) | Self::UnsupportedPatch(_) => "UnsupportedMediaType",
            Self::Unavailable(_) => "ServiceUnavailable",
            Self::TooManyGuesses | Self::TooManyRequests(_) | Self::DisruptionBudget { .. } => {
                "TooManyRequests"
            }
        }
    }

    fn details(&self) -> Value {
        match self {
            Self::NotFound { kind, name }
            | Self::ForbiddenObject { kind, name, .. }
            | Self::AlreadyExists { kind, name }
            | Self::Conflict { kind, name } => named(kind.group, kind.plural, name, json!({})),
            Self::Precondition { kind, name } => named(kind.group, kind.kind, name, json!({})),
            Self::Invalid { kind, name, causes } => named(
                kind.group,
                kind.kind,
                name,
                json!({"causes": listed(causes)}),
            ),
            Self::InvalidBody {
                group,
                kind,
                name,
                causes,
            } => named(group, kind, name, json!({"causes": listed(causes)})),
            Self::FutureVersion { .. } => json!({
                "causes": [{
                    "reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version",
                }],
                "retryAfterSeconds": 1,
            }),
            Self::Bound(name) => named("", "pods/binding", name, json!({})),
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
            Self::NoSuchPath
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::UnsupportedPatch(_)
            | Self::Unfit(_) => json!({}),
            _ => Value::Null,
        }
    }

    /// The object, for a response or for an event of a watch.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": self.reason(),
            "code": self.code().as_u16(),
        });
        let details = self.details();
        if !details.is_null() {
            status["details"] = details;
        }
        status
    }

    pub(crate) fn response(&self) -> Response<Body> {
        let (body, media_type) = match self {
            Self::NoSuchPage => (format!("{self}\n"), "text/plain; charset=utf-8"),
            _ => (self.status().to_string(), "application/json"),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.code();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        if self.code() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.code() == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
