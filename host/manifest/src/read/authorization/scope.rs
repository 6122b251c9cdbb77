//! Which workloads a policy selects: `selector` or `targetRefs`.

use crate::codes;
use crate::decode::{Decoder, Fields, choice, labels, located_string, string};
use crate::model::{PolicyScope, PolicyTarget, PolicyTargetKind};
use crate::yaml::Node;

pub(in crate::read) fn read(spec: &mut Fields<'_, '_>) -> Option<PolicyScope> {
    let has_selector = spec.has("selector");
    let selector = spec.optional("selector", selector);
    let has_targets = spec.has("targetRefs") || spec.has("targetRef");
    let mut targets = spec.list("targetRefs", target);
    targets.extend(spec.optional("targetRef", target));
    match (has_selector, has_targets) {
        (true, true) => {
            let message = "`selector` and `targetRefs` are exclusive; keep one".to_owned();
            spec.error_at("targetRefs", codes::EXCLUSIVE_FIELDS, message);
            None
        }
        (true, false) => selector,
        // An empty list is the same as none.
        (false, _) if targets.is_empty() => Some(PolicyScope::All),
        (false, _) => Some(PolicyScope::Targets(targets)),
    }
}

pub(in crate::read) fn selector(d: &mut Decoder, node: &Node) -> Option<PolicyScope> {
    let mut selector = Fields::of(d, node)?;
    let labels = selector.optional("matchLabels", labels).unwrap_or_default();
    selector.finish_strictly();
    Some(if labels.is_empty() {
        PolicyScope::All
    } else {
        PolicyScope::Labels(labels)
    })
}

fn target(d: &mut Decoder, node: &Node) -> Option<PolicyTarget> {
    let mut target = Fields::of(d, node)?;
    let kind = target.required("kind", |d, node| {
        choice(
            d,
            node,
            "a kind that a policy can target here",
            &[
                ("Gateway", PolicyTargetKind::Gateway),
                ("GatewayClass", PolicyTargetKind::GatewayClass),
                ("Service", PolicyTargetKind::Service),
            ],
        )
    });
    let group = target.optional("group", string).unwrap_or_default();
    let name = target.required("name", located_string);
    if target.has("namespace") {
        let message = "a policy can only target objects of its own namespace; leave it out";
        target.error_at("namespace", codes::INVALID_VALUE, message.to_owned());
    }
    target.ignore(&["namespace"]);
    let expected = match kind {
        Some(PolicyTargetKind::Service) => "",
        _ => "gateway.networking.k8s.io",
    };
    if kind.is_some() && !(group == expected || group == "core" && expected.is_empty()) {
        let message = format!("this kind has the group `{expected}`");
        target.error_at("group", codes::INVALID_VALUE, message);
    }
    target.finish_strictly();
    Some(PolicyTarget {
        kind: kind?,
        name: name?,
    })
}
