//! Load balancing by locality. The host does not act on it, but wrong settings are refused, as
//! in a cluster.

use crate::codes;
use crate::decode::{Decoder, Fields, boolean, integer, map, steps, string, strings};
use crate::yaml::{Mark, Node};

const TOPOLOGY: [&str; 3] = [
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];

/// `localityLbSetting`.
pub(super) fn read(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("enabled", boolean);
    let distribute = fields.list("distribute", distribution);
    let failover = fields.list("failover", failover);
    let priorities = fields.optional("failoverPriority", strings);
    if !distribute.is_empty() && !failover.is_empty() {
        let message = "`distribute` and `failover` are mutually exclusive; keep one".to_owned();
        fields.error_at("failover", codes::EXCLUSIVE_FIELDS, message);
        return None;
    }
    let priorities = priorities.unwrap_or_default();
    if !failover.is_empty()
        && let Some(label) = priorities.iter().find(|it| TOPOLOGY.contains(&it.as_str()))
    {
        let message = format!("`failover` already orders by `{label}`; remove the label");
        fields.error_at("failoverPriority", codes::EXCLUSIVE_FIELDS, message);
    }
    let origins = distribute.into_iter().enumerate();
    let origins =
        origins.map(|(index, (mark, from))| (steps!["distribute", index].to_vec(), mark, from));
    check_localities(fields.d, &origins.collect::<Vec<_>>());
    fields.finish(&[]);
    Some(())
}

/// `zoneAwareLbSetting`.
pub(super) fn zone_aware(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("enabled", boolean);
    fields.optional("minClusterSize", integer(1..=u32::MAX));
    fields.list("failover", failover);
    let priorities = fields.optional("failoverPriority", strings);
    let mut priorities = priorities.iter().flatten();
    if let Some(label) = priorities.find(|it| TOPOLOGY.contains(&it.as_str())) {
        let message = format!("the label `{label}` is always considered; remove it");
        fields.error_at("failoverPriority", codes::INVALID_VALUE, message);
    }
    fields.finish(&[]);
    Some(())
}

/// The locality where requests come from.
fn distribution(d: &mut Decoder, node: &Node) -> Option<(Mark, String)> {
    let mut fields = Fields::of(d, node)?;
    let from = fields.optional("from", string).unwrap_or_default();
    let to = fields.optional("to", |d, node| {
        let weights = map(d, node, |d, _, node| integer(1..=100)(d, node))?;
        let sum: u32 = weights.values().sum();
        if sum != 100 {
            let message = format!("the weights sum to {sum}, and must sum to 100");
            d.error(node.mark, codes::INVALID_VALUE, message);
        }
        let localities = weights.into_keys();
        let localities = localities.map(|to| (Vec::new(), node.mark, to));
        check_localities(d, &localities.collect::<Vec<_>>());
        Some(())
    });
    if !fields.has("to") {
        fields.missing("to");
    }
    fields.finish(&[]);
    to.map(|()| (node.mark, from))
}

fn failover(d: &mut Decoder, node: &Node) -> Option<()> {
    let mut fields = Fields::of(d, node)?;
    let mut region = |name| fields.optional(name, string).unwrap_or_default();
    let (from, to) = (region("from"), region("to"));
    for (name, region) in [("from", &from), ("to", &to)] {
        if region.contains(['/', '*']) {
            let message = "must be a region, without a zone and without `*`".to_owned();
            fields.error_at(name, codes::INVALID_VALUE, message);
        }
    }
    if from == to {
        let message = "must be another region than `from`".to_owned();
        fields.error_at("to", codes::INVALID_VALUE, message);
    }
    fields.finish(&[]);
    Some(())
}

/// Reports what is not `region`, `region/zone` or `region/zone/subzone`, where the last part may
/// be `*`, and localities within others.
fn check_localities(d: &mut Decoder, localities: &[(Vec<crate::decode::Segment>, Mark, String)]) {
    for (index, (path, mark, locality)) in localities.iter().enumerate() {
        let shown = d.show(locality);
        let earlier = localities[..index].iter().map(|(_, _, other)| other);
        let message = if is_locality(locality) {
            match earlier.into_iter().find(|it| overlap(it, locality)) {
                Some(other) => format!("{shown} and `{other}` overlap; keep one"),
                None => continue,
            }
        } else {
            format!("{shown} is not a locality; write region/zone/subzone or region/*")
        };
        d.within(path, |d| d.error(*mark, codes::INVALID_VALUE, message));
    }
}

fn is_locality(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let has_only_last_star = !text.trim_end_matches('*').contains('*') && !text.ends_with("**");
    parts.len() <= 3 && parts.iter().all(|part| !part.is_empty()) && has_only_last_star
}

/// Whether one locality is within the other. A `*` that comes later is for the rest.
fn overlap(earlier: &str, later: &str) -> bool {
    let parts = |text: &str| {
        let named = text.split('/').filter(|part| *part != "*");
        named.map(str::to_owned).collect::<Vec<_>>()
    };
    let (earlier, later) = (parts(earlier), parts(later));
    later.starts_with(&earlier) || !later.is_empty() && earlier.starts_with(&later)
}
