//! The span of a write, which continues the trace of its request.

use http::request::Parts;
use http::{Method, Response};
use tracing::Span;

use crate::admin::failure::Failure;
use crate::admin::path::Resource;
use crate::telemetry::trace::control::{ControlSpan, control_span};
use crate::telemetry::trace::{PropagatedHeaders, attributes, spans};

pub(super) fn begin(request: &Parts, resource: &Resource) -> Span {
    let span = control_span!(spans::WRITE);
    if span.is_disabled() {
        return span;
    }
    if let Some(trace) = PropagatedHeaders::read(&request.headers).trace {
        span.continue_trace(&trace);
    }
    span.set(attributes::WRITER, "api");
    span.set(attributes::VERB, verb(&request.method, resource));
    span.set(attributes::OBJECT_KIND, resource.kind.kind);
    if let Some(namespace) = &resource.namespace {
        span.describe(attributes::NAMESPACE, namespace);
    }
    if let Some(name) = &resource.name {
        span.describe(attributes::OBJECT_NAME, name);
    }
    span
}

/// Sets the name of an object that the path does not have.
pub(super) fn set_name(name: &str) {
    Span::current().describe(attributes::OBJECT_NAME, name);
}

pub(super) fn set_dry_run() {
    Span::current().set(attributes::DRY_RUN, true);
}

/// Messages of failures contain no values of Secrets.
pub(super) fn end<B>(span: &Span, result: &Result<Response<B>, Failure>) {
    match result {
        Ok(_) => span.set(attributes::RESULT, "accepted"),
        Err(failure) => span.fail(failure.reason(), failure),
    }
}

fn verb(method: &Method, resource: &Resource) -> &'static str {
    match (method, &resource.name) {
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (_, Some(_)) => "delete",
        (_, None) => "deletecollection",
    }
}
