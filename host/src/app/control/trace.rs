//! The spans of the control loop.

use galleria_manifest::model::ObjectKey;
use tracing::{Instrument, Span};

use super::RejectedChange;
use crate::telemetry::trace::attributes;
use crate::telemetry::trace::control::{ControlSpan, control_span};
use crate::telemetry::trace::spans;
use crate::writes::WriteError;

/// The value of [`attributes::RESULT`] of a change that is in force.
pub(super) const ACCEPTED: &str = "accepted";

/// Carries out one step of a change within its span.
pub(super) async fn step<T>(
    span: Span,
    step: impl Future<Output = Result<T, RejectedChange>>,
) -> Result<T, RejectedChange> {
    let result = step.instrument(span.clone()).await;
    if let Err(rejected) = &result {
        reject(&span, rejected);
    }
    result
}

/// Marks the span of a rejected change.
pub(super) fn reject(span: &Span, rejected: &RejectedChange) {
    if !span.is_disabled() {
        span.fail(rejected.reason(), rejected.problems().join("; "));
    }
}

/// The span of a write of the host itself, which changes `objects`.
pub(in crate::app) fn own_write(writer: &'static str, objects: &[ObjectKey]) -> Span {
    let span = control_span!(spans::WRITE);
    if span.is_disabled() {
        return span;
    }
    let all = |part: fn(&ObjectKey) -> &str| {
        let parts: Vec<_> = objects.iter().map(part).collect();
        parts.join(",")
    };
    span.set(attributes::WRITER, writer);
    span.set(attributes::VERB, "update");
    span.set(attributes::OBJECT_KIND, all(|key| &key.kind));
    span.set(attributes::NAMESPACE, all(|key| &key.namespace));
    span.set(attributes::OBJECT_NAME, all(|key| &key.name));
    span
}

/// Sets the result of a write of the host itself.
pub(in crate::app) fn end_write(span: &Span, result: &Result<(), WriteError>) {
    match result {
        Ok(()) => span.set(attributes::RESULT, ACCEPTED),
        Err(error) => span.fail(error.reason(), error),
    }
}
