//! Fault injection: delays and aborts.

use crate::codes;
use crate::decode::{Decoder, Fields, choice, integer, percent, percentage, positive_duration};
use crate::model::{AbortStatus, Fault, FaultAbort, FaultDelay, Percent};
use crate::yaml::{Node, ResolvedScalar, Value};

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Fault> {
    let mut fields = Fields::of(d, node)?;
    let delay = fields.optional("delay", delay);
    let abort = fields.optional("abort", abort);
    if !fields.has("delay") && !fields.has("abort") {
        let message = "a fault needs delay or abort";
        let mark = fields.mark;
        fields.d.error(mark, codes::MISSING_FIELD, message);
    }
    fields.finish(&[]);
    Some(Fault { delay, abort })
}

fn delay(d: &mut Decoder, node: &Node) -> Option<FaultDelay> {
    let mut fields = Fields::of(d, node)?;
    let fixed_delay = fields.optional("fixedDelay", positive_duration);
    let percentage = share(&mut fields);
    if fields.has("exponentialDelay") {
        let message = "is supported neither here nor in a cluster; use `fixedDelay`".to_owned();
        fields.error_at("exponentialDelay", codes::INVALID_VALUE, message);
        fields.ignore(&["exponentialDelay"]);
    } else if !fields.has("fixedDelay") {
        without_effect(
            &mut fields,
            "no delay is set, so there is none; set fixedDelay",
        );
    }
    fields.finish(&[]);
    Some(FaultDelay {
        fixed_delay: fixed_delay?,
        percentage,
    })
}

fn abort(d: &mut Decoder, node: &Node) -> Option<FaultAbort> {
    let mut fields = Fields::of(d, node)?;
    let http = fields
        .optional("httpStatus", integer(200..=599))
        .and_then(|status| u16::try_from(status).ok());
    let grpc = fields.optional("grpcStatus", grpc_status);
    if fields.has("http2Error") {
        let message = "is supported neither here nor in a cluster; use `httpStatus`".to_owned();
        fields.error_at("http2Error", codes::INVALID_VALUE, message);
        fields.ignore(&["http2Error"]);
    } else if !fields.has("httpStatus") && !fields.has("grpcStatus") {
        let message = "no status is set, so no request is aborted; set httpStatus";
        without_effect(&mut fields, message);
    }
    if fields.has("httpStatus") && fields.has("grpcStatus") {
        let message = "`httpStatus` and `grpcStatus` are mutually exclusive; keep one".to_owned();
        fields.error_at("grpcStatus", codes::EXCLUSIVE_FIELDS, message);
    }
    let percentage = share(&mut fields);
    fields.finish(&[]);
    let status = http
        .map(AbortStatus::Http)
        .or(grpc.map(AbortStatus::Grpc))?;
    Some(FaultAbort { status, percentage })
}

/// `percentage.value`, or the older integer `percent`. Without either nothing is injected, as
/// in Envoy.
fn share(fields: &mut Fields<'_, '_>) -> Percent {
    let modern = fields.optional("percentage", share_of_requests);
    let old = fields.optional("percent", percent);
    if fields.has("percent") {
        fields.deprecated("percent", "percentage.value");
    }
    if !fields.has("percentage") && !fields.has("percent") {
        let message = "no percentage is set, so the fault is never injected; set percentage.value";
        without_effect(fields, message);
    }
    modern.or(old).unwrap_or(Percent(0.0))
}

/// A percentage that Envoy can represent, with its four digits after the point.
fn share_of_requests(d: &mut Decoder, node: &Node) -> Option<Percent> {
    let share = percentage(d, node)?;
    if share.0 > 0.0 && share.0 < 0.0001 {
        let message = format!("{} is too small; the smallest share is 0.0001", share.0);
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(share)
}

fn without_effect(fields: &mut Fields<'_, '_>, message: &str) {
    let mark = fields.mark;
    fields.d.warning(mark, codes::NEVER_APPLIES, message);
}

fn grpc_status(d: &mut Decoder, node: &Node) -> Option<u16> {
    const NAMES: [(&str, u16); 17] = [
        ("OK", 0),
        ("CANCELLED", 1),
        ("UNKNOWN", 2),
        ("INVALID_ARGUMENT", 3),
        ("DEADLINE_EXCEEDED", 4),
        ("NOT_FOUND", 5),
        ("ALREADY_EXISTS", 6),
        ("PERMISSION_DENIED", 7),
        ("RESOURCE_EXHAUSTED", 8),
        ("FAILED_PRECONDITION", 9),
        ("ABORTED", 10),
        ("OUT_OF_RANGE", 11),
        ("UNIMPLEMENTED", 12),
        ("INTERNAL", 13),
        ("UNAVAILABLE", 14),
        ("DATA_LOSS", 15),
        ("UNAUTHENTICATED", 16),
    ];
    if let Value::Scalar(scalar) = &node.value
        && let Some(number) = match scalar.resolve() {
            ResolvedScalar::Int(number) => Some(number),
            _ => scalar.text.parse().ok(),
        }
    {
        if let Some(status) = u16::try_from(number).ok().filter(|status| *status <= 16) {
            let message = format!(
                "a cluster refuses the number, which is accepted here; write `{}`",
                NAMES[usize::from(status)].0
            );
            d.warning(node.mark, codes::INVALID_VALUE, message);
            return Some(status);
        }
        d.error(
            node.mark,
            codes::INVALID_VALUE,
            format!("{number} is not a gRPC status; must be 0 to 16"),
        );
        return None;
    }
    choice(d, node, "a gRPC status", &NAMES)
}
