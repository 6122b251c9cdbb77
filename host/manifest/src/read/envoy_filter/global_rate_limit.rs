//! The configuration of Envoy's filter `ratelimit`, which asks a service.

use std::time::Duration;

use super::local_rate_limit::{added_header, shows_limits, status};
use crate::codes;
use crate::decode::{Decoder, Fields, boolean, choice, non_empty, positive_duration};
use crate::model::GlobalRateLimit;
use crate::yaml::Node;

/// Envoy's default.
const TIMEOUT: Duration = Duration::from_millis(20);

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<GlobalRateLimit> {
    let mut fields = Fields::of(d, node)?;
    let domain = fields.required("domain", non_empty);
    let service = fields.required("rate_limit_service", service);
    let timeout = fields.optional("timeout", positive_duration);
    let failure_mode_deny = fields.optional("failure_mode_deny", boolean);
    let rate_limited_status = fields.optional("rate_limited_status", status);
    let status_on_error = fields.optional("status_on_error", status);
    let response_headers = fields.list("response_headers_to_add", added_header);
    let shows_limits = fields.optional("enable_x_ratelimit_headers", shows_limits);
    let hides_header = fields.optional("disable_x_envoy_ratelimited_header", boolean);
    fields.ignore(&["@type", "stat_prefix"]);
    fields.finish(&[
        "failure_mode_deny_percent",
        "filter_enabled",
        "filter_enforced",
        "rate_limited_as_resource_exhausted",
        "rate_limits",
        "request_type",
        "stage",
    ]);
    let (host, port) = service?;
    Some(GlobalRateLimit {
        domain: domain?,
        host,
        port,
        timeout: timeout.unwrap_or(TIMEOUT),
        failure_mode_deny: failure_mode_deny.unwrap_or(false),
        status: rate_limited_status.unwrap_or(429),
        status_on_error: status_on_error.unwrap_or(500),
        response_headers,
        shows_limits: shows_limits.unwrap_or(false),
        shows_header: !hides_header.unwrap_or(false),
    })
}

/// The host and the port of the service.
fn service(d: &mut Decoder, node: &Node) -> Option<(String, u16)> {
    let mut fields = Fields::of(d, node)?;
    let cluster = fields.required("grpc_service", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let cluster = fields.required("envoy_grpc", |d, node| {
            let mut fields = Fields::of(d, node)?;
            let cluster = fields.required("cluster_name", cluster);
            fields.ignore(&["authority"]);
            fields.finish(&[]);
            cluster
        });
        fields.finish(&["timeout", "initial_metadata"]);
        cluster
    });
    fields.optional("transport_api_version", |d, node| {
        choice(d, node, "a version", &[("V3", ())])
    });
    fields.finish(&[]);
    cluster
}

/// `outbound|PORT||HOST`
fn cluster(d: &mut Decoder, node: &Node) -> Option<(String, u16)> {
    let name = non_empty(d, node)?;
    let mut parts = name.split('|');
    let found = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    );
    if let (Some("outbound"), Some(port), Some(""), Some(host), None) = found
        && let Ok(port) = port.parse()
        && !host.is_empty()
    {
        return Some((host.to_ascii_lowercase(), port));
    }
    let message = "is not a cluster of the mesh; write `outbound|PORT||HOST`, for example \
                   `outbound|8081||ratelimit.default.svc.cluster.local`";
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}
