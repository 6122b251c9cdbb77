//! Providers of external authorization.

use std::time::Duration;

use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, header_name, integer, map, non_empty, port, positive_duration, string,
};
use crate::limits::CHECKED_BODY_BYTES_MAX;
use crate::model::{CheckedBody, ExtAuthz, ExtAuthzHttp, ExtAuthzProtocol};
use crate::yaml::Node;

/// Istio's default.
const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn http(d: &mut Decoder, node: &Node) -> Option<ExtAuthz> {
    let mut fields = Fields::of(d, node)?;
    let path_prefix = fields.optional("pathPrefix", path_prefix);
    let current = fields.list("includeRequestHeadersInCheck", header_pattern);
    let deprecated = fields.list("includeHeadersInCheck", header_pattern);
    if fields.has("includeHeadersInCheck") {
        fields.deprecated("includeHeadersInCheck", "includeRequestHeadersInCheck");
    }
    let additional_headers = fields.optional("includeAdditionalHeadersInCheck", |d, node| {
        map(d, node, |d, name, value| {
            header_name(d, name, value, false)?;
            header_value(d, value)
        })
    });
    let protocol = ExtAuthzHttp {
        path_prefix: path_prefix.unwrap_or_default(),
        request_headers: match current.is_empty() {
            true => deprecated,
            false => current,
        },
        additional_headers: additional_headers.unwrap_or_default(),
        headers_to_upstream_on_allow: fields.list("headersToUpstreamOnAllow", header_pattern),
        headers_to_downstream_on_deny: fields.list("headersToDownstreamOnDeny", header_pattern),
        headers_to_downstream_on_allow: fields.list("headersToDownstreamOnAllow", header_pattern),
    };
    read(fields, ExtAuthzProtocol::Http(protocol))
}

pub(super) fn grpc(d: &mut Decoder, node: &Node) -> Option<ExtAuthz> {
    read(Fields::of(d, node)?, ExtAuthzProtocol::Grpc)
}

fn read(mut fields: Fields<'_, '_>, protocol: ExtAuthzProtocol) -> Option<ExtAuthz> {
    let service = fields.required("service", service);
    let port = fields.required("port", port);
    let timeout = fields.optional("timeout", positive_duration);
    let fail_open = fields.optional("failOpen", boolean);
    let clear_route_cache = fields.optional("clearRouteCache", boolean);
    let status_on_error = fields.optional("statusOnError", status);
    let request_body = fields.optional("includeRequestBodyInCheck", body);
    fields.finish_strictly();
    Some(ExtAuthz {
        service: service?,
        port: port?,
        timeout: timeout.unwrap_or(TIMEOUT),
        fail_open: fail_open.unwrap_or(false),
        clear_route_cache: clear_route_cache.unwrap_or(false),
        status_on_error: status_on_error.unwrap_or(403),
        request_body,
        protocol,
    })
}

fn body(d: &mut Decoder, node: &Node) -> Option<CheckedBody> {
    let mut fields = Fields::of(d, node)?;
    let bytes_max = fields.required("maxRequestBytes", integer(1..=u32::MAX));
    let allows_partial = fields.optional("allowPartialMessage", boolean);
    let packs_as_bytes = fields.optional("packAsBytes", boolean);
    let bytes_max = bytes_max.map(|it| it as usize);
    if bytes_max.is_some_and(|it| it > CHECKED_BODY_BYTES_MAX) {
        let message = format!("at most {CHECKED_BODY_BYTES_MAX} bytes of a body are sent");
        fields.warn_at("maxRequestBytes", codes::LIMIT, message);
    }
    fields.finish_strictly();
    Some(CheckedBody {
        bytes_max: bytes_max?.min(CHECKED_BODY_BYTES_MAX),
        allows_partial: allows_partial.unwrap_or(false),
        packs_as_bytes: packs_as_bytes.unwrap_or(false),
    })
}

/// `[NAMESPACE/]HOST`
fn service(d: &mut Decoder, node: &Node) -> Option<String> {
    let service = non_empty(d, node)?;
    let is_part = |part: &str| {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        !part.is_empty() && part.bytes().all(is_valid)
    };
    let mut parts = service.split('/');
    if service.matches('/').count() <= 1 && parts.all(is_part) {
        return Some(service.to_ascii_lowercase());
    }
    let message = "is not a service; write its full name, for example \
                   `authorizer.shop.svc.cluster.local`, or `NAMESPACE/HOST`, without a port";
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn path_prefix(d: &mut Decoder, node: &Node) -> Option<String> {
    let prefix = string(d, node)?;
    let is_valid = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>".contains(&byte);
    if prefix.is_empty() || (prefix.starts_with('/') && prefix.bytes().all(is_valid)) {
        return Some(prefix);
    }
    let message = "is not the beginning of a path; write for example `/check`";
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn header_value(d: &mut Decoder, node: &Node) -> Option<String> {
    let value = string(d, node)?;
    if value
        .bytes()
        .all(|byte| byte == b'\t' || !byte.is_ascii_control())
    {
        return Some(value);
    }
    d.error(
        node.mark,
        codes::INVALID_VALUE,
        "is not the value of a header",
    );
    None
}

/// The name of a header, with a `*` at one end or none.
fn header_pattern(d: &mut Decoder, node: &Node) -> Option<String> {
    let pattern = non_empty(d, node)?;
    let name = match pattern.strip_prefix('*') {
        Some(rest) => rest,
        None => pattern.strip_suffix('*').unwrap_or(&pattern),
    };
    if !name.is_empty() {
        header_name(d, name, node, false)?;
    }
    Some(pattern.to_ascii_lowercase())
}

/// A status that Envoy knows, as text.
fn status(d: &mut Decoder, node: &Node) -> Option<u16> {
    let text = non_empty(d, node)?;
    let known = |status: u16| {
        matches!(status, 100 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=417 | 421..=424)
            || matches!(status, 426 | 428 | 429 | 431 | 500..=508 | 510 | 511)
    };
    match text.parse() {
        Ok(status) if known(status) => Some(status),
        _ => {
            let message = "is not a status of HTTP; write for example `\"503\"`";
            d.error(node.mark, codes::INVALID_VALUE, message);
            None
        }
    }
}
