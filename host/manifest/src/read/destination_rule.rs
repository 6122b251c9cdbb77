//! Istio's DestinationRule.

use super::authorization::scope;
use super::{export_to, traffic_policy};
use crate::codes;
use crate::decode::{Decoder, Fields, destination_name, label_of_any_case, labels, located, steps};
use crate::model::{DestinationRule, Resource, Subset};
use crate::yaml::{Mark, Node};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let rule = fields.required("spec", spec);
    fields.finish(&[]);
    rule.map(Resource::DestinationRule)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<DestinationRule> {
    let mut spec = Fields::of(d, node)?;
    let host = spec.required("host", destination_name);
    let traffic_policy = spec.optional("trafficPolicy", traffic_policy::read);
    let subsets = spec.list("subsets", subset);
    for (index, subset) in subsets.iter().enumerate() {
        if subsets[..index]
            .iter()
            .any(|earlier| earlier.name == subset.name)
        {
            let mark = Mark::from(&subset.name.at);
            let message = format!("the subset `{}` is listed twice; rename one", subset.name);
            spec.d.within(steps!["subsets", index, "name"], |d| {
                d.error(mark, codes::INVALID_VALUE, message);
            });
        }
    }
    let export_to = export_to::of_configuration(&mut spec);
    if spec.has("workloadSelector")
        && let Some(visible) = export_to.iter().find(|it| it.as_str() != ".")
    {
        let message = format!(
            "a rule with a workloadSelector applies to one namespace, and `{visible}` makes it \
             visible to others; write `.`, or leave exportTo out"
        );
        spec.error_at("exportTo", codes::EXCLUSIVE_FIELDS, message);
    }
    spec.without_effect("workloadSelector", scope::selector);
    spec.finish(&[]);
    Some(DestinationRule {
        host: host?,
        traffic_policy,
        subsets,
        export_to,
    })
}

fn subset(d: &mut Decoder, node: &Node) -> Option<Subset> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located(label_of_any_case));
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
