//! PodDisruptionBudget.

use super::selector;
use crate::codes;
use crate::decode::{Decoder, Fields, int_or_percent};
use crate::model::{DisruptionBound, PodDisruptionBudget, Resource};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let budget = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::PodDisruptionBudget(budget?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<PodDisruptionBudget> {
    let mut spec = Fields::of(d, node)?;
    let selector = spec.required("selector", selector::read);
    let min = spec.optional("minAvailable", int_or_percent);
    let max = spec.optional("maxUnavailable", int_or_percent);
    if spec.has("minAvailable") && spec.has("maxUnavailable") {
        let message = "is set together with `minAvailable`; leave one of them out".to_owned();
        spec.error_at("maxUnavailable", codes::EXCLUSIVE_FIELDS, message);
    }
    if !spec.has("minAvailable") && !spec.has("maxUnavailable") {
        spec.missing("minAvailable");
    }
    spec.finish(&["unhealthyPodEvictionPolicy"]);
    let bound = min
        .map(DisruptionBound::MinAvailable)
        .or(max.map(DisruptionBound::MaxUnavailable));
    Some(PodDisruptionBudget {
        selector: selector?,
        bound: bound?,
    })
}
