//! Rewrites, redirects and direct responses.

use super::http_match::check_regex_length;
use super::secret::base64_value;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, integer, non_empty, port, rewrite_pattern, string};
use crate::model::{DirectResponse, Redirect, RedirectPort, RegexRewrite, Rewrite};
use crate::yaml::Node;

/// Istio's limit for the body of a direct response.
const DIRECT_BODY_BYTES_MAX: usize = 1024 * 1024;

pub(super) fn rewrite(d: &mut Decoder, node: &Node) -> Option<Rewrite> {
    let mut fields = Fields::of(d, node)?;
    let uri = fields.optional("uri", string);
    let uri_regex = fields.optional("uriRegexRewrite", regex_rewrite);
    let authority = fields.optional("authority", authority);
    if fields.has("uri") && fields.has("uriRegexRewrite") {
        let message = "`uri` and `uriRegexRewrite` are mutually exclusive; keep one".to_owned();
        fields.error_at("uriRegexRewrite", codes::EXCLUSIVE_FIELDS, message);
    }
    if !["uri", "uriRegexRewrite", "authority"]
        .iter()
        .any(|field| fields.has(field))
    {
        let message = "a rewrite needs uri, uriRegexRewrite or authority";
        let mark = fields.mark;
        fields.d.error(mark, codes::MISSING_FIELD, message);
    }
    fields.finish(&[]);
    Some(Rewrite {
        at: d.position(node.mark),
        uri,
        uri_regex,
        authority,
    })
}

fn regex_rewrite(d: &mut Decoder, node: &Node) -> Option<RegexRewrite> {
    let mut fields = Fields::of(d, node)?;
    let regex = fields.required("match", |d, node| {
        check_regex_length(d, node);
        rewrite_pattern(d, node)
    });
    let rewrite = fields.required("rewrite", non_empty);
    if let (Some(regex), Some(rewrite)) = (&regex, &rewrite) {
        let groups = regex.captures_len() - 1;
        let highest = highest_group(rewrite);
        if highest > groups {
            let message = format!("refers to \\{highest}, but the pattern has {groups} groups");
            fields.error_at("rewrite", codes::INVALID_REGEX, message);
        }
    }
    fields.finish(&[]);
    Some(RegexRewrite {
        regex: regex?,
        rewrite: rewrite?,
    })
}

fn highest_group(rewrite: &str) -> usize {
    let bytes = rewrite.as_bytes();
    let mut highest = 0;
    let mut at = 0;
    while at + 1 < bytes.len() {
        if bytes[at] == b'\\' {
            if bytes[at + 1].is_ascii_digit() {
                highest = highest.max(usize::from(bytes[at + 1] - b'0'));
            }
            at += 1;
        }
        at += 1;
    }
    highest
}

/// A host with an optional port.
fn authority(d: &mut Decoder, node: &Node) -> Option<String> {
    let text = non_empty(d, node)?;
    let (host, port) = text.rsplit_once(':').unwrap_or((&text, "80"));
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'[' | b']' | b':');
    if host.is_empty() || !host.bytes().all(plain) || port.parse::<u16>().is_err() {
        let shown = d.show(&text);
        let message = format!("{shown} is not an authority; write `host` or `host:port`");
        d.error(node.mark, codes::INVALID_VALUE, message);
        return None;
    }
    Some(text)
}

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Redirect> {
    let mut fields = Fields::of(d, node)?;
    let uri = fields.optional("uri", string);
    let prefix = fields.optional("prefixRewrite", non_empty);
    if fields.has("uri") && fields.has("prefixRewrite") {
        let message = "`uri` and `prefixRewrite` are mutually exclusive; keep one".to_owned();
        fields.error_at("prefixRewrite", codes::EXCLUSIVE_FIELDS, message);
    }
    let authority = fields.optional("authority", authority);
    let scheme = fields.optional("scheme", |d, node| {
        choice(d, node, "a scheme", &[("http", "http"), ("https", "https")])
    });
    let number = fields.optional("port", port);
    let derived = fields.optional("derivePort", |d, node| {
        let forms = [
            ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocolDefault),
            ("FROM_REQUEST_PORT", RedirectPort::FromRequestPort),
        ];
        choice(d, node, "a way to derive the port", &forms)
    });
    if fields.has("port") && fields.has("derivePort") {
        let message = "`port` and `derivePort` are mutually exclusive; keep one".to_owned();
        fields.error_at("derivePort", codes::EXCLUSIVE_FIELDS, message);
    }
    let code = fields.optional("redirectCode", |d, node| {
        let code = integer(0..=u32::MAX)(d, node)?;
        if ![301, 302, 303, 307, 308].contains(&code) {
            let message = format!("{code} is not a redirect; use 301, 302, 303, 307 or 308");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        u16::try_from(code).ok()
    });
    let set = [
        "uri",
        "prefixRewrite",
        "authority",
        "scheme",
        "port",
        "derivePort",
    ];
    if !set.iter().any(|field| fields.has(field)) {
        let message =
            "this redirect leads back to the same place; set uri, authority, scheme or port";
        let mark = fields.mark;
        fields.d.error(mark, codes::MISSING_FIELD, message);
    }
    fields.finish(&[]);
    Some(Redirect {
        at: d.position(node.mark),
        uri,
        prefix,
        authority,
        scheme: scheme.map(str::to_owned),
        port: number.map(RedirectPort::Number).or(derived),
        code: code.unwrap_or(301),
    })
}

pub(super) fn direct_response(d: &mut Decoder, node: &Node) -> Option<DirectResponse> {
    let mut fields = Fields::of(d, node)?;
    let status = fields.required("status", integer(200..=599));
    let body = fields.optional("body", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let text = fields.optional("string", string).map(String::into_bytes);
        let bytes = fields.optional("bytes", |d, node| base64_value(d, node, "string"));
        if fields.has("string") && fields.has("bytes") {
            let message = "`string` and `bytes` are mutually exclusive; keep one".to_owned();
            fields.error_at("bytes", codes::EXCLUSIVE_FIELDS, message);
        }
        fields.finish(&[]);
        let body = text.or(bytes).unwrap_or_default();
        if body.len() > DIRECT_BODY_BYTES_MAX {
            d.error(node.mark, codes::INVALID_VALUE, "is larger than 1 MiB");
            return None;
        }
        Some(body)
    });
    fields.finish(&[]);
    let status = u16::try_from(status?).ok()?;
    Some(DirectResponse {
        at: d.position(node.mark),
        status,
        body: body.unwrap_or_default(),
    })
}
