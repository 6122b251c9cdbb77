//! `gatewayTopology`: in `defaultConfig` of MeshConfig, and in the annotation
//! `proxy.istio.io/config` of a Gateway.

use super::mesh_config::shift;
use crate::codes;
use crate::decode::{Decoder, Fields, choice, integer, steps};
use crate::model::{ForwardClientCertDetails, GatewayTopology};
use crate::yaml::{self, Node};

/// The annotation that has a ProxyConfig.
const ANNOTATION: &str = "proxy.istio.io/config";

/// More proxies than any request passes.
const PROXIES_MAX: u32 = 100;

const MODES: &[(&str, Option<ForwardClientCertDetails>)] = &[
    ("UNDEFINED", None),
    ("SANITIZE", Some(ForwardClientCertDetails::Sanitize)),
    ("FORWARD_ONLY", Some(ForwardClientCertDetails::ForwardOnly)),
    (
        "APPEND_FORWARD",
        Some(ForwardClientCertDetails::AppendForward),
    ),
    ("SANITIZE_SET", Some(ForwardClientCertDetails::SanitizeSet)),
    (
        "ALWAYS_FORWARD_ONLY",
        Some(ForwardClientCertDetails::AlwaysForwardOnly),
    ),
];

/// The topology in a ProxyConfig. Its other fields configure proxies.
pub(super) fn of_proxy_config(d: &mut Decoder, node: &Node) -> Option<GatewayTopology> {
    let mut fields = Fields::of(d, node)?;
    fields.optional("gatewayTopology", read)
}

fn read(d: &mut Decoder, node: &Node) -> Option<GatewayTopology> {
    let mut fields = Fields::of(d, node)?;
    let mode = fields.optional("forwardClientCertDetails", |d, node| {
        choice(d, node, "a mode of x-forwarded-client-cert", MODES)
    });
    let num_trusted_proxies = fields.optional("numTrustedProxies", integer(0..=PROXIES_MAX));
    let proxy_protocol = fields.optional("proxyProtocol", |d, node| {
        // It has no fields: its presence turns the protocol on.
        Fields::of(d, node)?.finish(&[]);
        Some(())
    });
    fields.finish(&[]);
    Some(GatewayTopology {
        num_trusted_proxies,
        forward_client_cert_details: mode.flatten(),
        proxy_protocol: proxy_protocol.is_some(),
    })
}

/// The topology in the annotation of an object, whose fields are `fields`.
pub(super) fn annotated(fields: &mut Fields<'_, '_>) -> Option<GatewayTopology> {
    let annotations = fields.get("metadata")?.get("annotations")?;
    let value = annotations.get(ANNOTATION)?;
    let text = value.as_text()?;
    let parsed = yaml::parse(text);
    fields
        .d
        .within(steps!["metadata", "annotations", ANNOTATION], |d| {
            if let Some(problem) = parsed.problems.first() {
                let message = format!("is not YAML: {}", problem.message);
                d.error(value.mark, codes::INVALID_VALUE, message);
                return None;
            }
            let mut root = parsed.documents.into_iter().next()?;
            shift(&mut root, value.mark, text);
            of_proxy_config(d, &root)
        })
}
