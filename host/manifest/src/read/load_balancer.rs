//! Load balancing: how an endpoint of a destination is selected.

use super::locality;
use crate::codes;
use crate::decode::{
    Decoder, Fields, boolean, choice, duration, header_name, integer, items, non_empty, number,
    percent, positive_duration, string,
};
use crate::model::{HashKey, LoadBalancer, LoadBalancerPolicy};
use crate::yaml::Node;

/// Entries of a hash ring: Envoy's own maximum.
const RING_SIZE_MAX: u32 = 8 * 1024 * 1024;
/// Entries of a Maglev table: Envoy's own maximum.
const TABLE_SIZE_MAX: u32 = 5_000_010;
const RING_SIZE_DEFAULT: u32 = 1024;

#[derive(Clone, Copy)]
enum Simple {
    RoundRobin,
    LeastRequest,
    Random,
    Passthrough,
}

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<LoadBalancer> {
    let mut fields = Fields::of(d, node)?;
    let simple = fields.optional("simple", |d, node| {
        if node.as_text() == Some("LEAST_CONN") {
            let message = "removed from the current API but still supported; use LEAST_REQUEST";
            d.warning(node.mark, codes::DEPRECATED, message);
            return Some(Simple::LeastRequest);
        }
        let policies = [
            ("ROUND_ROBIN", Simple::RoundRobin),
            ("LEAST_REQUEST", Simple::LeastRequest),
            ("RANDOM", Simple::Random),
            ("PASSTHROUGH", Simple::Passthrough),
            ("UNSPECIFIED", Simple::LeastRequest),
        ];
        choice(d, node, "a load balancing policy", &policies)
    });
    let hash = fields.optional("consistentHash", consistent_hash);
    if fields.has("simple") && fields.has("consistentHash") {
        let message = "`simple` and `consistentHash` are mutually exclusive; keep one".to_owned();
        fields.error_at("consistentHash", codes::EXCLUSIVE_FIELDS, message);
    }
    let warmup = fields.optional("warmup", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let duration = fields.required("duration", positive_duration);
        fields.without_effect("minimumPercent", percent);
        fields.without_effect("aggression", aggression);
        fields.finish(&[]);
        duration
    });
    let old_warmup = fields.optional("warmupDurationSecs", duration);
    if fields.has("warmupDurationSecs") {
        fields.deprecated("warmupDurationSecs", "warmup.duration");
    }
    fields.without_effect("localityLbSetting", locality::read);
    fields.without_effect("zoneAwareLbSetting", locality::zone_aware);
    if fields.has("localityLbSetting") && fields.has("zoneAwareLbSetting") {
        let message = "`localityLbSetting` and `zoneAwareLbSetting` are mutually exclusive; keep \
                       one";
        let zone_aware = "zoneAwareLbSetting";
        fields.error_at(zone_aware, codes::EXCLUSIVE_FIELDS, message.to_owned());
    }
    fields.finish(&[]);
    let policy = hash.unwrap_or(match simple {
        Some(Simple::RoundRobin) => LoadBalancerPolicy::RoundRobin,
        Some(Simple::Random) => LoadBalancerPolicy::Random,
        Some(Simple::Passthrough) => LoadBalancerPolicy::Passthrough,
        Some(Simple::LeastRequest) | None => LoadBalancerPolicy::LeastRequest,
    });
    Some(LoadBalancer {
        policy,
        warmup: warmup.or(old_warmup).filter(|time| !time.is_zero()),
    })
}

fn aggression(d: &mut Decoder, node: &Node) -> Option<()> {
    if number(d, node)? <= 0.0 {
        d.error(node.mark, codes::INVALID_VALUE, "must be above 0");
    }
    Some(())
}

fn consistent_hash(d: &mut Decoder, node: &Node) -> Option<LoadBalancerPolicy> {
    let mut fields = Fields::of(d, node)?;
    let mut keys = Vec::new();
    keys.extend(fields.optional("httpHeaderName", |d, node| {
        let name = non_empty(d, node)?;
        header_name(d, &name, node, true).map(HashKey::Header)
    }));
    keys.extend(fields.optional("httpCookie", cookie));
    keys.extend(
        fields
            .optional("httpQueryParameterName", non_empty)
            .map(HashKey::QueryParameter),
    );
    if fields.optional("useSourceIp", boolean) == Some(true) {
        keys.push(HashKey::SourceIp);
    }
    let names = [
        "httpHeaderName",
        "httpCookie",
        "useSourceIp",
        "httpQueryParameterName",
    ];
    if names.iter().filter(|name| fields.has(name)).count() != 1 {
        let message = format!("needs exactly one of {}", names.join(", "));
        let mark = fields.mark;
        fields.d.error(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    let old_size = fields.optional("minimumRingSize", integer(0..=RING_SIZE_MAX));
    if fields.has("minimumRingSize") {
        fields.deprecated("minimumRingSize", "ringHash.minimumRingSize");
    }
    for modern in ["ringHash", "maglev"] {
        if fields.has("minimumRingSize") && fields.has(modern) {
            let message =
                format!("`minimumRingSize` and `{modern}` are mutually exclusive; keep {modern}");
            fields.error_at("minimumRingSize", codes::EXCLUSIVE_FIELDS, message);
        }
    }
    if fields.has("ringHash") && fields.has("maglev") {
        let message = "`ringHash` and `maglev` are mutually exclusive; keep one".to_owned();
        fields.error_at("maglev", codes::EXCLUSIVE_FIELDS, message);
    }
    let ring_size = fields.optional("ringHash", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let size = fields.optional("minimumRingSize", integer(0..=RING_SIZE_MAX));
        fields.finish(&[]);
        Some(size)
    });
    let maglev = fields.optional("maglev", |d, node| {
        let mut fields = Fields::of(d, node)?;
        fields.required("tableSize", |d, node| {
            let size = integer(0..=u32::MAX)(d, node)?;
            if size > TABLE_SIZE_MAX || !is_prime(size) {
                let message =
                    format!("{size} is no size of a table; use a prime, at most {TABLE_SIZE_MAX}");
                d.error(node.mark, codes::INVALID_VALUE, message);
            }
            Some(())
        });
        fields.finish(&[]);
        Some(())
    });
    fields.finish(&[]);
    Some(LoadBalancerPolicy::ConsistentHash {
        key: keys.pop()?,
        minimum_ring_size: ring_size
            .flatten()
            .or(old_size)
            // 0 is as absent.
            .filter(|size| *size > 0)
            .unwrap_or(RING_SIZE_DEFAULT),
        maglev: maglev.is_some(),
    })
}

/// Further attributes of the cookie, each with its own name.
fn attributes(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut names: Vec<String> = Vec::new();
    items(d, node, |d, node| {
        let mut fields = Fields::of(d, node)?;
        let name = fields.required("name", non_empty)?;
        fields.optional("value", string);
        if names.contains(&name) {
            let message = "an earlier attribute has this name; remove one".to_owned();
            fields.error_at("name", codes::INVALID_VALUE, message);
        }
        fields.finish(&[]);
        names.push(name);
        Some(())
    })?;
    Some(())
}

fn is_prime(number: u32) -> bool {
    number > 1
        && (2..)
            .take_while(|factor| factor * factor <= number)
            .all(|factor| !number.is_multiple_of(factor))
}

fn cookie(d: &mut Decoder, node: &Node) -> Option<HashKey> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", non_empty);
    let path = fields.optional("path", non_empty);
    let ttl = fields.optional("ttl", duration);
    fields.without_effect("attributes", attributes);
    fields.finish(&[]);
    Some(HashKey::Cookie {
        name: name?,
        path,
        ttl,
    })
}
