//! The destinations and mirrors of a rule.

use super::headers;
use crate::WithPosition;
use crate::codes;
use crate::decode::{
    Decoder, Fields, destination_name, integer, label_of_any_case, located, percent, percentage,
    port,
};
use crate::model::{Destination, HeaderOperations, Mirror, Percent, RouteDestination};
use crate::yaml::Node;

pub(super) fn route(d: &mut Decoder, node: &Node) -> Option<RouteDestination> {
    let mut fields = Fields::of(d, node)?;
    let destination = fields.required("destination", read);
    let weight = fields.optional("weight", located(integer(0..=1_000_000)));
    let weight_failed = fields.has("weight") && weight.is_none();
    let headers = headers::operations(&mut fields, "headers");
    fields.finish(&[]);
    if weight_failed {
        return None;
    }
    let at = d.position(node.mark);
    Some(RouteDestination {
        at,
        destination: destination?,
        weight,
        headers,
    })
}

/// A destination of connections, which have no headers.
pub(super) fn connection_route(d: &mut Decoder, node: &Node) -> Option<RouteDestination> {
    let mut fields = Fields::of(d, node)?;
    let destination = fields.required("destination", read);
    let weight = fields.optional("weight", located(integer(0..=1_000_000)));
    let weight_failed = fields.has("weight") && weight.is_none();
    fields.finish(&[]);
    if weight_failed {
        return None;
    }
    Some(RouteDestination {
        at: d.position(node.mark),
        destination: destination?,
        weight,
        headers: HeaderOperations::default(),
    })
}

pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<Destination> {
    let mut fields = Fields::of(d, node)?;
    let host = fields.required("host", |d, node| {
        let host = destination_name(d, node)?;
        if host.value == "*" {
            let message = "a destination is one service; `*` is none";
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(host)
    });
    let subset = fields.optional("subset", located(label_of_any_case));
    let port = fields.optional("port", port_selector);
    fields.finish(&[]);
    Some(Destination {
        host: host?,
        subset,
        port,
    })
}

fn port_selector(d: &mut Decoder, node: &Node) -> Option<WithPosition<u16>> {
    if node
        .as_text()
        .is_some_and(|text| text.parse::<u16>().is_ok())
    {
        let text = node.as_text().unwrap_or_default();
        let message =
            format!("expected a mapping, found a number; write `port: {{number: {text}}}`");
        d.error(node.mark, codes::WRONG_TYPE, message);
        return None;
    }
    let mut fields = Fields::of(d, node)?;
    let number = fields.required("number", located(port));
    if fields.has("name") {
        let message = "removed from the API long ago; use `number`".to_owned();
        fields.ignore(&["name"]);
        fields.warn_at("name", codes::DEPRECATED, message);
    }
    fields.finish(&[]);
    number
}

/// `mirror` with one of three forms of its percentage, and `mirrors`.
pub(super) fn mirrors(fields: &mut Fields<'_, '_>) -> Vec<Mirror> {
    let destination = fields.optional("mirror", read);
    let modern = fields.optional("mirrorPercentage", percentage);
    let old_forms = ["mirrorPercent", "mirror_percent"];
    let mut old = None;
    for form in old_forms {
        if fields.has(form) {
            old = fields.optional(form, percent).or(old);
            fields.deprecated(form, "mirrorPercentage.value");
        } else {
            fields.ignore(&[form]);
        }
    }
    if (modern.is_some() || old.is_some()) && !fields.has("mirror") {
        let message = "mirrorPercentage has no effect without `mirror`";
        let mark = fields.mark;
        fields.d.warning(mark, codes::EXCLUSIVE_FIELDS, message);
    }
    let percentage = modern.or(old).unwrap_or(Percent(100.0));
    let mut mirrors: Vec<Mirror> = destination
        .map(|destination| Mirror {
            destination,
            percentage,
        })
        .into_iter()
        .collect();
    if fields.has("mirror") && fields.has("mirrors") {
        let message = "`mirror` and `mirrors` are mutually exclusive; keep mirrors".to_owned();
        fields.error_at("mirror", codes::EXCLUSIVE_FIELDS, message);
    }
    mirrors.extend(fields.list("mirrors", mirror));
    mirrors
}

fn mirror(d: &mut Decoder, node: &Node) -> Option<Mirror> {
    let mut fields = Fields::of(d, node)?;
    let destination = fields.required("destination", read);
    let percentage = fields.optional("percentage", percentage);
    fields.finish(&[]);
    Some(Mirror {
        destination: destination?,
        percentage: percentage.unwrap_or(Percent(100.0)),
    })
}
