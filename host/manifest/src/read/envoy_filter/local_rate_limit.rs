//! The configuration of Envoy's filter `local_ratelimit`.

use std::time::Duration;

use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, duration, header_name, integer, non_empty, string,
};
use crate::model::{AddedHeader, BucketLimits, LimitedDescriptor, LocalRateLimit, Percent};
use crate::yaml::Node;

/// Envoy's minimum.
const FILL_INTERVAL_MIN: Duration = Duration::from_millis(50);

const NOT_HONOURED: &[&str] = &[
    "local_cluster_rate_limit",
    "local_rate_limit_per_downstream_connection",
    "max_dynamic_descriptors",
    "rate_limited_as_resource_exhausted",
    "rate_limits",
    "request_headers_to_add_when_not_enforced",
    "stage",
    "vh_rate_limits",
];

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<LocalRateLimit> {
    let mut fields = Fields::of(d, node)?;
    let bucket = fields.optional("token_bucket", bucket);
    let enabled = fields.optional("filter_enabled", fraction);
    let enforced = fields.optional("filter_enforced", fraction);
    let status = fields.optional("status", status);
    let response_headers = fields.list("response_headers_to_add", added_header);
    let descriptors = fields.list("descriptors", descriptor);
    let always = fields.optional("always_consume_default_token_bucket", boolean);
    let shows_limits = fields.optional("enable_x_ratelimit_headers", shows_limits);
    let is_never = |percent: Option<Percent>| percent.is_none_or(|it| it.0 == 0.0);
    if bucket.is_some() && (is_never(enabled) || is_never(enforced)) {
        let message = "limits no request, since the defaults of filter_enabled and \
                       filter_enforced are 0 %";
        fields.warn_at("token_bucket", codes::NOT_HONOURED, message.to_owned());
    }
    fields.ignore(&["@type", "stat_prefix"]);
    fields.finish(NOT_HONOURED);
    Some(LocalRateLimit {
        bucket,
        enabled: enabled.unwrap_or(Percent(0.0)),
        enforced: enforced.unwrap_or(Percent(0.0)),
        status: status.unwrap_or(429),
        response_headers,
        descriptors,
        always_takes_from_bucket: always.unwrap_or(true),
        shows_limits: shows_limits.unwrap_or(false),
    })
}

fn bucket(d: &mut Decoder, node: &Node) -> Option<BucketLimits> {
    let mut fields = Fields::of(d, node)?;
    let max_tokens = fields.required("max_tokens", integer(1..=u32::MAX));
    let tokens_per_fill = fields.optional("tokens_per_fill", integer(1..=u32::MAX));
    let fill_interval = fields.required("fill_interval", |d, node| {
        let interval = duration(d, node)?;
        if interval < FILL_INTERVAL_MIN {
            d.error(node.mark, codes::INVALID_VALUE, "must be at least 50ms");
            return None;
        }
        Some(interval)
    });
    fields.finish(&[]);
    Some(BucketLimits {
        max_tokens: max_tokens?,
        tokens_per_fill: tokens_per_fill.unwrap_or(1),
        fill_interval: fill_interval?,
    })
}

/// `default_value: {numerator: 100, denominator: HUNDRED}`
fn fraction(d: &mut Decoder, node: &Node) -> Option<Percent> {
    let mut fields = Fields::of(d, node)?;
    let value = fields.optional("default_value", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let numerator = fields.optional("numerator", integer(0..=u32::MAX));
        let denominators = [
            ("HUNDRED", 100.0),
            ("TEN_THOUSAND", 10_000.0),
            ("MILLION", 1_000_000.0),
        ];
        let denominator = fields.optional("denominator", |d, node| {
            choice(d, node, "a denominator", &denominators)
        });
        fields.finish(&[]);
        let share = f64::from(numerator.unwrap_or(0)) / denominator.unwrap_or(100.0);
        Some(Percent((share * 100.0).min(100.0)))
    });
    fields.ignore(&["runtime_key"]);
    fields.finish(&[]);
    Some(value.unwrap_or(Percent(0.0)))
}

/// Whether responses tell the limits.
pub(super) fn shows_limits(d: &mut Decoder, node: &Node) -> Option<bool> {
    let versions = [("OFF", false), ("DRAFT_VERSION_03", true)];
    choice(d, node, "a version", &versions)
}

/// Envoy ignores a status below 400.
pub(super) fn status(d: &mut Decoder, node: &Node) -> Option<u16> {
    let mut fields = Fields::of(d, node)?;
    let code = fields.optional("code", integer(400..=599));
    fields.finish(&[]);
    code.and_then(|code| u16::try_from(code).ok())
}

pub(super) fn added_header(d: &mut Decoder, node: &Node) -> Option<AddedHeader> {
    let mut fields = Fields::of(d, node)?;
    let header = fields.required("header", |d, node| {
        let mut header = Fields::of(d, node)?;
        let name = header.required("key", |d, node| {
            let name = non_empty(d, node)?;
            header_name(d, &name, node, false)
        });
        let value = header.optional("value", string);
        header.finish(&[]);
        Some((name?, value.unwrap_or_default()))
    });
    let append = fields.optional("append", boolean);
    let actions = [
        ("APPEND_IF_EXISTS_OR_ADD", false),
        ("ADD_IF_ABSENT", false),
        ("OVERWRITE_IF_EXISTS_OR_ADD", true),
        ("OVERWRITE_IF_EXISTS", true),
    ];
    let action = fields.optional("append_action", |d, node| {
        choice(d, node, "an action", &actions)
    });
    fields.finish(&["keep_empty_value"]);
    let (name, value) = header?;
    Some(AddedHeader {
        name,
        value,
        replaces: action.unwrap_or(append == Some(false)),
    })
}

fn descriptor(d: &mut Decoder, node: &Node) -> Option<LimitedDescriptor> {
    let mut fields = Fields::of(d, node)?;
    let entries = fields.required_list("entries", |d, node| {
        let mut entry = Fields::of(d, node)?;
        let key = entry.required("key", non_empty);
        let value = entry.optional("value", string);
        entry.finish(&[]);
        Some((key?, value.unwrap_or_default()))
    });
    let bucket = fields.required("token_bucket", bucket);
    fields.finish(&["limit"]);
    Some(LimitedDescriptor {
        entries: entries?,
        bucket: bucket?,
    })
}
