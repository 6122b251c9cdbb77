//! Istio's DestinationRule.

use super::{traffic_policy, virtual_service};
use crate::codes;
use crate::decode::{Decoder, Fields, dns_name, labels, located_string, steps};
use crate::model::{DestinationRule, Resource, Subset};
use crate::yaml::{Mark, Node};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let rule = fields.required("spec", spec);
    fields.finish(&[]);
    rule.map(Resource::DestinationRule)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<DestinationRule> {
    let mut spec = Fields::of(d, node)?;
    let host = spec.required("host", dns_name);
    let traffic_policy = spec.optional("trafficPolicy", traffic_policy::read);
    let subsets = spec.list("subsets", subset);
    for (index, subset) in subsets.iter().enumerate() {
        if subsets[..index]
            .iter()
            .any(|earlier| earlier.name == subset.name)
        {
            let mark = Mark::from(&subset.name.at);
            let message = format!(
                "the subset `{}` is listed twice; the first one is used",
                subset.name
            );
            spec.d.within(steps!["subsets", index, "name"], |d| {
                d.warning(mark, codes::DUPLICATE_NAME, message);
            });
        }
    }
    let export_to = spec.list("exportTo", virtual_service::export);
    spec.finish(&["workloadSelector"]);
    Some(DestinationRule {
        host: host?,
        traffic_policy,
        subsets,
        export_to,
    })
}

fn subset(d: &mut Decoder, node: &Node) -> Option<Subset> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located_string);
    let labels = fields.optional("labels", labels).unwrap_or_default();
    let traffic_policy = fields.optional("trafficPolicy", traffic_policy::read);
    fields.finish(&[]);
    Some(Subset {
        at: d.position(node.mark),
        name: name?,
        labels,
        traffic_policy,
    })
}
