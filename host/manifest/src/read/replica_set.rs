//! ReplicaSet, in its current apiVersion and the two before it.

use super::{deployment, pod};
use crate::decode::{Decoder, Fields, non_negative_seconds};
use crate::model::{ReplicaSet, Resource};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let set = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::ReplicaSet(set?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<ReplicaSet> {
    let mut spec = Fields::of(d, node)?;
    let replicas = deployment::replicas(&mut spec);
    let template = spec.required("template", |d, node| {
        let template = pod::template(d, node)?;
        deployment::always_restarted(d, node, &template, "ReplicaSet");
        Some(template)
    });
    let selector = deployment::selector(&mut spec, template.as_ref());
    let min_ready = spec.optional("minReadySeconds", non_negative_seconds);
    spec.finish(&[]);
    Some(ReplicaSet {
        replicas,
        selector: selector?,
        template: template?,
        min_ready: min_ready.unwrap_or_default(),
    })
}
