//! LimitRange.

use crate::codes;
use crate::decode::{Decoder, Fields, choice, map, near_quantity};
use crate::model::{LimitRange, LimitRangeItem, LimitRangeType, Quantities, Quantity, Resource};
use crate::yaml::Node;

/// Resources of containers; `storage` is for claims.
const RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage", "storage"];

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let limits = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let limits = spec.required_list("limits", item);
        spec.finish(&[]);
        limits
    });
    fields.finish(&[]);
    Some(Resource::LimitRange(LimitRange { limits: limits? }))
}

fn item(d: &mut Decoder, node: &Node) -> Option<LimitRangeItem> {
    let mut fields = Fields::of(d, node)?;
    let kind = fields.required("type", |d, node| {
        let types = [
            ("Container", LimitRangeType::Container),
            ("Pod", LimitRangeType::Pod),
            (
                "PersistentVolumeClaim",
                LimitRangeType::PersistentVolumeClaim,
            ),
        ];
        choice(d, node, "a type", &types)
    });
    let mut list = |name| fields.optional(name, quantities).unwrap_or_default();
    let mut item = LimitRangeItem {
        default: list("default"),
        default_request: list("defaultRequest"),
        min: list("min"),
        max: list("max"),
        max_limit_request_ratio: list("maxLimitRequestRatio"),
        kind: LimitRangeType::Container,
        at: fields.d.position(node.mark),
    };
    item.kind = kind?;
    check(&mut fields, &mut item);
    fields.finish(&[]);
    if item.kind == LimitRangeType::Container {
        complete(&mut item);
    }
    Some(item)
}

/// Quantities by resource; an unsupported resource limits nothing.
fn quantities(d: &mut Decoder, node: &Node) -> Option<Quantities> {
    let mut quantities = Quantities::new();
    map(d, node, |d, name, value| {
        let quantity = near_quantity(d, value)?;
        if RESOURCES.contains(&name) {
            quantities.insert(name.to_owned(), quantity);
        } else {
            let hint = crate::decode::did_you_mean(name, RESOURCES.iter().copied());
            let message = format!("this resource is not supported by this host{hint}");
            d.warning(value.mark, codes::NOT_HONOURED, message);
        }
        Some(())
    })?;
    Some(quantities)
}

/// The bounds of one item must not exclude every value.
fn check(fields: &mut Fields<'_, '_>, item: &mut LimitRangeItem) {
    if item.kind != LimitRangeType::Container {
        for name in ["default", "defaultRequest"] {
            if fields.has(name) {
                let message = "is for `type: Container` only; leave it out".to_owned();
                fields.error_at(name, codes::EXCLUSIVE_FIELDS, message);
            }
        }
    }
    let pairs = [
        ("min", &item.min, "max", &item.max),
        ("min", &item.min, "default", &item.default),
        ("min", &item.min, "defaultRequest", &item.default_request),
        ("defaultRequest", &item.default_request, "max", &item.max),
        (
            "defaultRequest",
            &item.default_request,
            "default",
            &item.default,
        ),
    ];
    for (low, lows, high, highs) in pairs {
        for (resource, low_value, high_value) in in_both(lows, highs) {
            if low_value > high_value {
                let message = format!(
                    "{} of {resource} is above {high}, which is {}",
                    low_value.show(resource),
                    high_value.show(resource)
                );
                fields.error_at(low, codes::INVALID_VALUE, message);
            }
        }
    }
    for (resource, ratio) in &item.max_limit_request_ratio {
        if ratio.millis < 1000 {
            let message = format!("the ratio of {resource} is below 1, so no limit can satisfy it");
            fields.error_at("maxLimitRequestRatio", codes::INVALID_VALUE, message);
        }
    }
    lower_defaults(fields, item);
}

/// A cluster refuses a default above the maximum. Here it becomes the maximum: the intention
/// is clear.
fn lower_defaults(fields: &mut Fields<'_, '_>, item: &mut LimitRangeItem) {
    for (resource, default) in &mut item.default {
        let Some(max) = item.max.get(resource) else {
            continue;
        };
        if *default > *max {
            let message = format!(
                "{} of {resource} is above max, which is {} and is used instead; a cluster rejects this",
                default.show(resource),
                max.show(resource)
            );
            *default = *max;
            fields.warn_at("default", codes::INVALID_VALUE, message);
        }
    }
}

fn in_both<'a>(
    one: &'a Quantities,
    other: &'a Quantities,
) -> impl Iterator<Item = (&'a str, Quantity, Quantity)> {
    one.iter()
        .filter_map(|(name, value)| Some((name.as_str(), *value, *other.get(name)?)))
}

/// The defaults of a cluster: `max` for limits, the limit or else `min` for requests.
fn complete(item: &mut LimitRangeItem) {
    let fill = |into: &mut Quantities, from: &Quantities| {
        for (resource, quantity) in from {
            into.entry(resource.clone()).or_insert(*quantity);
        }
    };
    fill(&mut item.default, &item.max);
    fill(&mut item.default_request, &item.default);
    fill(&mut item.default_request, &item.min);
}
