//! Istio's PeerAuthentication.

use super::authorization::scope;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, map};
use crate::model::{Labels, MutualTlsMode, PeerAuthentication, PolicyScope, Resource};
use crate::yaml::{Node, Value};

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let authentication = fields.optional("spec", spec);
    let failed = fields.has("spec") && authentication.is_none();
    fields.finish(&[]);
    let authentication = authentication.unwrap_or(PeerAuthentication {
        selector: Default::default(),
        mode: None,
        port_modes: Vec::new(),
    });
    (!failed).then_some(Resource::PeerAuthentication(authentication))
}

fn spec(d: &mut Decoder, node: &Node) -> Option<PeerAuthentication> {
    let mut spec = Fields::of(d, node)?;
    let selector = match spec.optional("selector", scope::selector) {
        Some(PolicyScope::Labels(labels)) => labels,
        _ => Labels::new(),
    };
    let mode = spec.optional("mtls", mutual_tls).flatten();
    let ports = spec.optional("portLevelMtls", |d, node| {
        if matches!(&node.value, Value::Mapping(ports) if ports.is_empty()) {
            let message = "must not be empty; name ports, or leave it out";
            d.error(node.mark, codes::MISSING_FIELD, message);
        }
        map(d, node, |d, port, value| {
            let number = port.parse::<u16>().ok().filter(|port| *port > 0);
            if number.is_none() {
                let shown = d.show(port);
                let message = format!("{shown} is not a port; write a number from 1 to 65535");
                d.error(value.mark, codes::INVALID_VALUE, message);
            }
            Some((number?, mutual_tls(d, value)?))
        })
    });
    let labels = node.get("selector").and_then(|it| it.get("matchLabels"));
    // Labels that are wrong are reported already.
    let has_labels =
        labels.is_some_and(|it| matches!(&it.value, Value::Mapping(it) if !it.is_empty()));
    if spec.has("portLevelMtls") && selector.is_empty() && !has_labels {
        let message = "needs a selector: it is by the port of a workload".to_owned();
        spec.error_at("portLevelMtls", codes::MISSING_FIELD, message);
    }
    spec.finish_strictly();
    Some(PeerAuthentication {
        selector,
        mode,
        port_modes: ports.unwrap_or_default().into_values().collect(),
    })
}

/// `{mode: …}`; `None` inside for UNSET.
fn mutual_tls(d: &mut Decoder, node: &Node) -> Option<Option<MutualTlsMode>> {
    let mut fields = Fields::of(d, node)?;
    let modes = [
        ("UNSET", None),
        ("DISABLE", Some(MutualTlsMode::Disable)),
        ("PERMISSIVE", Some(MutualTlsMode::Permissive)),
        ("STRICT", Some(MutualTlsMode::Strict)),
    ];
    let mode = fields.optional("mode", |d, node| {
        choice(d, node, "a mode of mutual TLS", &modes)
    });
    let failed = fields.has("mode") && mode.is_none();
    fields.finish_strictly();
    (!failed).then(|| mode.flatten())
}
