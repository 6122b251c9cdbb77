//! DaemonSet, in its current apiVersion and the two before it.

use super::{deployment, pod};
use crate::decode::{Decoder, Fields, choice, non_negative_seconds};
use crate::model::{DaemonSet, Resource, Toleration};
use crate::yaml::Node;

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let set = fields.required("spec", spec);
    fields.finish(&[]);
    Some(Resource::DaemonSet(set?))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<DaemonSet> {
    let mut spec = Fields::of(d, node)?;
    let template = spec.required("template", |d, node| {
        let mut template = pod::template(d, node)?;
        deployment::always_restarted(d, node, &template, "DaemonSet");
        let tolerations = &mut template.spec.tolerations;
        tolerations.push(Toleration::of_unschedulable());
        Some(template)
    });
    let selector = deployment::selector(&mut spec, template.as_ref());
    let min_ready = spec.optional("minReadySeconds", non_negative_seconds);
    let by_default = spec.d.api_version() == "extensions/v1beta1";
    let on_delete = spec.optional("updateStrategy", on_delete);
    // The pod of the only node is replaced at once, so there is no history of it.
    spec.ignore(&["revisionHistoryLimit", "templateGeneration"]);
    spec.finish(&[]);
    Some(DaemonSet {
        selector: selector?,
        template: template?,
        min_ready: min_ready.unwrap_or_default(),
        on_delete: on_delete.unwrap_or(by_default),
    })
}

/// `updateStrategy`. With a single pod, `rollingUpdate` has nothing to decide.
fn on_delete(d: &mut Decoder, node: &Node) -> Option<bool> {
    let mut fields = Fields::of(d, node)?;
    let kinds = [("RollingUpdate", false), ("OnDelete", true)];
    let on_delete = fields.optional("type", |d, node| {
        choice(d, node, "an update strategy", &kinds)
    });
    fields.ignore(&["rollingUpdate"]);
    fields.finish(&[]);
    Some(on_delete.unwrap_or(false))
}
