//! A DestinationRule's traffic policy, with its outlier detection.

use std::time::Duration;

use super::{client_tls, connection_pool, load_balancer};
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, dns_name, duration, ends_with_number, integer, items,
    percent, port, positive_duration,
};
use crate::model::{OutlierDetection, TrafficPolicy};
use crate::yaml::Node;

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<TrafficPolicy> {
    let mut fields = Fields::of(d, node)?;
    if !BLOCKS
        .iter()
        .chain(&OTHER_BLOCKS)
        .any(|field| fields.has(field))
    {
        is_empty(&mut fields, "trafficPolicy");
    }
    let mut policy = blocks(&mut fields);
    policy.port_level_settings = fields.list("portLevelSettings", port_level);
    if fields.has("tunnel") && fields.has("proxyProtocol") {
        let message = "`tunnel` and `proxyProtocol` are mutually exclusive; keep one".to_owned();
        fields.error_at("tunnel", codes::EXCLUSIVE_FIELDS, message);
    }
    fields.without_effect("proxyProtocol", proxy_protocol);
    fields.without_effect("retryBudget", retry_budget);
    fields.without_effect("tunnel", tunnel);
    fields.finish(&[]);
    Some(policy)
}

const BLOCKS: [&str; 4] = ["loadBalancer", "connectionPool", "outlierDetection", "tls"];
const OTHER_BLOCKS: [&str; 4] = [
    "portLevelSettings",
    "proxyProtocol",
    "retryBudget",
    "tunnel",
];

fn is_empty(fields: &mut Fields<'_, '_>, what: &str) {
    let mark = fields.mark;
    let message = format!(
        "{what} is empty; set one of {}, or leave it out",
        BLOCKS.join(", ")
    );
    fields.d.error(mark, codes::MISSING_FIELD, message);
}

fn blocks(fields: &mut Fields<'_, '_>) -> TrafficPolicy {
    TrafficPolicy {
        load_balancer: fields.optional("loadBalancer", load_balancer::read),
        connection_pool: fields.optional("connectionPool", connection_pool::read),
        outlier_detection: fields.optional("outlierDetection", outlier_detection),
        tls: fields.optional("tls", client_tls::read),
        port_level_settings: Vec::new(),
    }
}

fn port_level(d: &mut Decoder, node: &Node) -> Option<(u16, TrafficPolicy)> {
    let mut fields = Fields::of(d, node)?;
    let number = fields.required("port", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let number = fields.required("number", port);
        fields.finish(&[]);
        number
    });
    if !BLOCKS.iter().any(|field| fields.has(field)) {
        is_empty(&mut fields, "an entry of portLevelSettings");
    }
    let policy = blocks(&mut fields);
    fields.finish(&[]);
    Some((number?, policy))
}

fn outlier_detection(d: &mut Decoder, node: &Node) -> Option<OutlierDetection> {
    let mut fields = Fields::of(d, node)?;
    let count = || integer(0..=i32::MAX as u32);
    let errors_5xx = fields.optional("consecutive5xxErrors", count());
    let gateway_errors = fields.optional("consecutiveGatewayErrors", count());
    let old_errors = fields.optional("consecutiveErrors", count());
    if fields.has("consecutiveErrors") {
        let successor = "consecutiveGatewayErrors or consecutive5xxErrors";
        fields.deprecated("consecutiveErrors", successor);
    }
    let interval = fields.optional("interval", positive_duration);
    let base_ejection_time = fields.optional("baseEjectionTime", positive_duration);
    let max_ejection_percent = fields.optional("maxEjectionPercent", integer(0..=100));
    let min_health_percent = fields.optional("minHealthPercent", integer(0..=100));
    let count = fields.get("consecutiveLocalOriginFailures");
    let is_split = fields
        .get("splitExternalLocalOriginErrors")
        .and_then(Node::as_text)
        == Some("true");
    if count.is_some_and(|it| !it.is_null() && it.as_text() != Some("0")) && !is_split {
        let message = "needs `splitExternalLocalOriginErrors: true`".to_owned();
        fields.error_at(
            "consecutiveLocalOriginFailures",
            codes::MISSING_FIELD,
            message,
        );
    }
    let any = integer(0..=u32::MAX);
    fields.without_effect("consecutiveLocalOriginFailures", any);
    fields.without_effect("splitExternalLocalOriginErrors", boolean);
    fields.without_effect("outlierDetectionHttpErrorCodes", |d, node| {
        items(d, node, integer(100..=599))
    });
    fields.finish(&[]);
    // The old field counts gateway errors and disables ejection on 5xx.
    let default_5xx = if old_errors.is_some() { 0 } else { 5 };
    let on = |count: u32| (count > 0).then_some(count);
    Some(OutlierDetection {
        consecutive_5xx: on(errors_5xx.unwrap_or(default_5xx)),
        consecutive_gateway_errors: on(gateway_errors.or(old_errors).unwrap_or(0)),
        interval: interval.unwrap_or(Duration::from_secs(10)),
        base_ejection_time: base_ejection_time.unwrap_or(Duration::from_secs(30)),
        max_ejection_percent: max_ejection_percent.unwrap_or(10),
        min_health_percent: min_health_percent.unwrap_or(0),
    })
}

fn proxy_protocol(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("version", |d, node| {
        choice(d, node, "a version", &[("V1", ()), ("V2", ())])
    });
    fields.finish(&[]);
    Some(())
}

fn retry_budget(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("percent", percent);
    fields.optional("minRetryConcurrency", integer(0..=u32::MAX));
    fields.optional("budgetInterval", duration);
    fields.finish(&[]);
    Some(())
}

fn tunnel(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("protocol", |d, node| {
        let protocols = [("CONNECT", ()), ("POST", ()), ("", ())];
        choice(d, node, "a protocol of tunnels", &protocols)
    });
    fields.required("targetHost", |d, node| {
        let name = dns_name(d, node)?;
        if ends_with_number(&name) && name.parse::<std::net::IpAddr>().is_err() {
            let shown = d.show(&name);
            let message = format!("{shown} is neither an IP address nor a host name");
            d.error(node.mark, codes::INVALID_VALUE, message);
        }
        Some(())
    });
    fields.required("targetPort", port);
    fields.finish(&[]);
    Some(())
}
