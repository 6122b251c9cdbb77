//! Probes, and the `preStop` request.

use std::time::Duration;

use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, header_name, integer, items, non_empty, port, port_reference, string,
};
use crate::model::{HttpGet, Probe, ProbeHandler};
use crate::yaml::Node;

/// A liveness or startup probe, whose `successThreshold` must be 1.
pub(super) fn liveness(d: &mut Decoder, node: &Node) -> Option<Probe> {
    read(d, node, true)
}

pub(super) fn readiness(d: &mut Decoder, node: &Node) -> Option<Probe> {
    read(d, node, false)
}

fn read(d: &mut Decoder, node: &Node, one_success: bool) -> Option<Probe> {
    let mut fields = Fields::of(d, node)?;
    let mut handlers = Vec::new();
    handlers.extend(
        fields
            .optional("httpGet", http_get)
            .map(ProbeHandler::HttpGet),
    );
    handlers.extend(fields.optional("tcpSocket", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let port = fields.required("port", port_reference);
        if fields.take("host").is_some() {
            let message = "the probe calls the pod itself".to_owned();
            fields.warn_at("host", codes::NOT_HONOURED, message);
        }
        fields.finish(&[]);
        Some(ProbeHandler::TcpSocket { port: port? })
    }));
    handlers.extend(fields.optional("grpc", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let port = fields.required("port", port);
        let service = fields.optional("service", string);
        fields.finish(&[]);
        Some(ProbeHandler::Grpc {
            port: port?,
            service,
        })
    }));
    if fields.take("exec").is_some() {
        let message = "a WebAssembly guest has no shell and no programs to execute; use httpGet";
        fields.error_at("exec", codes::NO_SHELL, message.to_owned());
    }
    let kinds = ["httpGet", "tcpSocket", "grpc", "exec"];
    if kinds.iter().filter(|kind| fields.has(kind)).count() != 1 {
        let message = "a probe needs exactly one of httpGet, tcpSocket, grpc";
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    let initial_delay = fields.optional("initialDelaySeconds", integer(0..=86_400));
    let period = number(&mut fields, "periodSeconds", 86_400, 10);
    let timeout = number(&mut fields, "timeoutSeconds", 86_400, 1);
    let success_threshold = number(&mut fields, "successThreshold", 1000, 1);
    let failure_threshold = number(&mut fields, "failureThreshold", 100_000, 3);
    if one_success && success_threshold != 1 {
        let message = "must be 1 for liveness and startup probes".to_owned();
        fields.error_at("successThreshold", codes::INVALID_VALUE, message);
    }
    let grace = fields.optional("terminationGracePeriodSeconds", integer(1..=86_400));
    if !one_success && grace.is_some() {
        let message = "a readiness probe terminates nothing; leave it out".to_owned();
        fields.error_at(
            "terminationGracePeriodSeconds",
            codes::EXCLUSIVE_FIELDS,
            message,
        );
    }
    fields.finish(&[]);
    let seconds = |value: u32| Duration::from_secs(u64::from(value));
    Some(Probe {
        at: d.position(node.mark),
        handler: handlers.pop()?,
        initial_delay: seconds(initial_delay.unwrap_or(0)),
        period: seconds(period),
        timeout: seconds(timeout),
        success_threshold,
        failure_threshold,
        termination_grace_period: grace.map(seconds),
    })
}

/// As in a cluster, 0 is the same as an absent field.
fn number(fields: &mut Fields<'_, '_>, name: &'static str, most: u32, default: u32) -> u32 {
    let value = fields.optional(name, integer(0..=most));
    if value == Some(0) {
        let message = format!("0 is treated as unset, so it is {default}");
        fields.warn_at(name, codes::INVALID_VALUE, message);
    }
    value.filter(|value| *value > 0).unwrap_or(default)
}

/// A probe is sent to the pod itself; its `host` has no effect.
const HOST: &str =
    "the probe calls the component directly; for another Host header use httpHeaders";

fn http_get(d: &mut Decoder, node: &Node) -> Option<HttpGet> {
    let mut fields = Fields::of(d, node)?;
    let path = fields.optional("path", |d, node| {
        let path = non_empty(d, node)?;
        Some(if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        })
    });
    let port = fields.required("port", port_reference);
    let headers = fields
        .optional("httpHeaders", |d, node| items(d, node, http_header))
        .unwrap_or_default();
    let https = fields.optional("scheme", |d, node| {
        choice(d, node, "a scheme", &[("HTTP", false), ("HTTPS", true)])
    });
    if https == Some(true) {
        let message = "the probe calls the component directly, without TLS".to_owned();
        fields.warn_at("scheme", codes::NOT_HONOURED, message);
    }
    if fields.take("host").is_some() {
        fields.warn_at("host", codes::NOT_HONOURED, HOST.to_owned());
    }
    fields.finish(&[]);
    Some(HttpGet {
        path: path.unwrap_or_else(|| "/".to_owned()),
        port: port?,
        headers,
    })
}

fn http_header(d: &mut Decoder, node: &Node) -> Option<(String, String)> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", |d, node| {
        let name = non_empty(d, node)?;
        header_name(d, &name, node, false)
    });
    let value = fields.required("value", string);
    fields.finish(&[]);
    Some((name?, value?))
}

/// `lifecycle`, of which only `preStop.httpGet` is supported.
pub(super) fn pre_stop(d: &mut Decoder, node: &Node) -> Option<Option<HttpGet>> {
    let mut fields = Fields::of(d, node)?;
    let request = fields.optional("preStop", |d, node| {
        let mut handler = Fields::of(d, node)?;
        let request = handler.optional("httpGet", http_get);
        if handler.take("exec").is_some() {
            let message =
                "a WebAssembly guest has no shell and no programs to execute; use httpGet";
            handler.error_at("exec", codes::NO_SHELL, message.to_owned());
        }
        handler.finish(&["tcpSocket", "sleep"]);
        Some(request)
    });
    fields.finish(&["postStart", "stopSignal"]);
    Some(request.flatten())
}
