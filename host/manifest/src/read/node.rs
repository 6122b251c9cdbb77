//! Node, and the tolerations of pods.

use crate::codes;
use crate::decode::{Decoder, Fields, boolean, choice, non_empty, string};
use crate::model::{NODE_NAME, Node as NodeSpec, Resource, Taint, TaintEffect, Toleration};
use crate::yaml::Node;

/// The node of this host. Others are left to the cluster.
pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let name = fields.get("metadata").and_then(|node| node.get("name"));
    if name.and_then(Node::as_text) != Some(NODE_NAME) {
        let message = format!("only the Node {NODE_NAME} is this host; the object has no effect");
        let mark = fields.mark;
        fields.d.note(mark, codes::KIND_NOT_ENFORCED, message);
        return Some(Resource::NotEnforced);
    }
    let spec = fields.optional("spec", spec);
    fields.finish(&[]);
    Some(Resource::Node(spec.unwrap_or_default()))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<NodeSpec> {
    let mut fields = Fields::of(d, node)?;
    let unschedulable = fields.optional("unschedulable", boolean);
    let taints = fields.list("taints", taint);
    // A cluster writes these.
    fields.ignore(&[
        "configSource",
        "externalID",
        "podCIDR",
        "podCIDRs",
        "providerID",
    ]);
    fields.finish(&[]);
    Some(NodeSpec {
        unschedulable: unschedulable.unwrap_or(false),
        taints,
    })
}

fn taint(d: &mut Decoder, node: &Node) -> Option<Taint> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.required("key", non_empty);
    let value = fields.optional("value", string);
    let effect = fields.required("effect", effect);
    fields.ignore(&["timeAdded"]);
    fields.finish(&[]);
    Some(Taint {
        key: key?,
        value: value.unwrap_or_default(),
        effect: effect?,
    })
}

fn effect(d: &mut Decoder, node: &Node) -> Option<TaintEffect> {
    let effects = [
        ("NoSchedule", TaintEffect::NoSchedule),
        ("PreferNoSchedule", TaintEffect::PreferNoSchedule),
        ("NoExecute", TaintEffect::NoExecute),
    ];
    choice(d, node, "an effect of a taint", &effects)
}

pub(super) fn toleration(d: &mut Decoder, node: &Node) -> Option<Toleration> {
    let mut fields = Fields::of(d, node)?;
    let key = fields.optional("key", string).filter(|key| !key.is_empty());
    let operator = fields.optional("operator", |d, node| {
        choice(
            d,
            node,
            "an operator",
            &[("Exists", true), ("Equal", false)],
        )
    });
    let any_value = operator.unwrap_or(false);
    let value = fields.optional("value", string);
    let effect = fields
        .take("effect")
        .filter(|node| node.as_text() != Some(""))
        .map(|node| fields.d.under("effect", |d| effect(d, node)));
    if key.is_none() && !any_value {
        let message = "without a key, the operator must be `Exists`".to_owned();
        fields.error_at("operator", codes::INVALID_VALUE, message);
    }
    if any_value && value.as_ref().is_some_and(|value| !value.is_empty()) {
        let message = "must be empty if the operator is `Exists`".to_owned();
        fields.error_at("value", codes::INVALID_VALUE, message);
    }
    fields.finish(&["tolerationSeconds"]);
    Some(Toleration {
        key,
        value: (!any_value).then(|| value.unwrap_or_default()),
        effect: match effect {
            None => None,
            Some(effect) => Some(effect?),
        },
    })
}
