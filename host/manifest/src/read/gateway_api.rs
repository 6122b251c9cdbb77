//! The Gateway API's Gateway and ReferenceGrant; routes are in `route.rs`.

mod filter;
mod matches;
mod route;

pub(crate) use route::read as http_route;

use super::selector;
use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, dns_label, dns_name, located, located_string, non_empty, port, string,
};
use crate::model::{
    AllowedNamespaces, CertificateReference, GatewayApiGateway, GatewayListener, GrantedFrom,
    GrantedTo, Protocol, ReferenceGrant, Resource,
};
use crate::yaml::Node;

pub(crate) fn gateway(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let gateway = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        spec.required("gatewayClassName", non_empty);
        let listeners = spec.required_list("listeners", listener);
        spec.finish(&[
            "addresses",
            "allowedListeners",
            "backendTLS",
            "defaultScope",
            "infrastructure",
            "tls",
        ]);
        Some(GatewayApiGateway {
            listeners: listeners?,
        })
    });
    // Written by a cluster.
    fields.ignore(&["status"]);
    fields.finish(&[]);
    gateway.map(Resource::GatewayApiGateway)
}

fn listener(d: &mut Decoder, node: &Node) -> Option<GatewayListener> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located_string);
    let port = fields.required("port", located(port));
    let protocol = fields.required("protocol", |d, node| {
        let protocols = [
            ("HTTP", Protocol::Http),
            ("HTTPS", Protocol::Https),
            ("TLS", Protocol::Tls),
            ("TCP", Protocol::Tcp),
        ];
        choice(d, node, "a protocol that this host knows", &protocols)
    });
    if protocol == Some(Protocol::Tcp) {
        let message = "this listener is not served: the host speaks HTTP".to_owned();
        fields.warn_at("protocol", codes::NOT_HONOURED, message);
    }
    let hostname = fields.optional("hostname", dns_name);
    let tls = fields.optional("tls", tls).unwrap_or_default();
    let allowed = fields.optional("allowedRoutes", allowed_routes);
    let (allowed, takes_http) = allowed.unwrap_or((AllowedNamespaces::Same, true));
    if protocol == Some(Protocol::Https) && tls.certificate.is_none() && !tls.passthrough {
        let message = "HTTPS needs `tls.certificateRefs`".to_owned();
        fields.error_at("protocol", codes::MISSING_FIELD, message);
    }
    fields.finish(&[]);
    Some(GatewayListener {
        at: d.position(node.mark),
        name: name?,
        port: port?,
        protocol: protocol?,
        hostname,
        certificate: tls.certificate,
        passthrough: tls.passthrough,
        allowed,
        takes_http,
    })
}

#[derive(Default)]
struct Tls {
    certificate: Option<CertificateReference>,
    passthrough: bool,
}

fn tls(d: &mut Decoder, node: &Node) -> Option<Tls> {
    let mut fields = Fields::of(d, node)?;
    let modes = [("Terminate", false), ("Passthrough", true)];
    let passthrough = fields.optional("mode", |d, node| choice(d, node, "a TLS mode", &modes));
    let mut certificates = fields.list("certificateRefs", certificate);
    if certificates.len() > 1 {
        let message = "only the first certificate is used".to_owned();
        fields.warn_at("certificateRefs", codes::NOT_HONOURED, message);
    }
    fields.finish(&["frontendValidation", "options"]);
    Some(Tls {
        certificate: (!certificates.is_empty()).then(|| certificates.remove(0)),
        passthrough: passthrough.unwrap_or(false),
    })
}

fn certificate(d: &mut Decoder, node: &Node) -> Option<CertificateReference> {
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", located_string);
    let namespace = fields.optional("namespace", dns_label);
    let kind = fields.optional("kind", non_empty);
    if kind.is_some_and(|kind| kind != "Secret") {
        let message = "a certificate is a Secret".to_owned();
        fields.error_at("kind", codes::INVALID_VALUE, message);
    }
    fields.ignore(&["group"]);
    fields.finish(&[]);
    Some(CertificateReference {
        name: name?,
        namespace,
    })
}

/// The namespaces, and whether the kinds contain HTTPRoute.
fn allowed_routes(d: &mut Decoder, node: &Node) -> Option<(AllowedNamespaces, bool)> {
    let mut fields = Fields::of(d, node)?;
    let namespaces = fields.optional("namespaces", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let from = [("Same", "Same"), ("All", "All"), ("Selector", "Selector")];
        let from = fields.optional("from", |d, node| choice(d, node, "a choice", &from));
        let selector = fields.optional("selector", selector::read);
        if from == Some("Selector") && selector.is_none() {
            fields.missing("selector");
        }
        fields.finish(&[]);
        Some(match (from, selector) {
            (Some("All"), _) => AllowedNamespaces::All,
            (Some("Selector"), Some(selector)) => AllowedNamespaces::Selected(selector),
            _ => AllowedNamespaces::Same,
        })
    });
    let kinds = fields.list("kinds", |d, node| {
        let mut fields = Fields::of(d, node)?;
        let kind = fields.required("kind", non_empty);
        fields.ignore(&["group"]);
        fields.finish(&[]);
        kind
    });
    let takes_http = kinds.is_empty() || kinds.iter().any(|kind| kind == "HTTPRoute");
    if !takes_http {
        let message = "none of these kinds is supported here; use HTTPRoute".to_owned();
        fields.warn_at("kinds", codes::NOT_HONOURED, message);
    }
    fields.finish(&[]);
    Some((namespaces.unwrap_or(AllowedNamespaces::Same), takes_http))
}

pub(crate) fn reference_grant(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let grant = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        let from = spec.required_list("from", |d, node| {
            let mut fields = Fields::of(d, node)?;
            let group = fields.required("group", string);
            let kind = fields.required("kind", non_empty);
            let namespace = fields.required("namespace", dns_label);
            fields.finish(&[]);
            Some(GrantedFrom {
                group: group?,
                kind: kind?,
                namespace: namespace?,
            })
        });
        let to = spec.required_list("to", |d, node| {
            let mut fields = Fields::of(d, node)?;
            let group = fields.required("group", string);
            let kind = fields.required("kind", non_empty);
            let name = fields.optional("name", non_empty);
            fields.finish(&[]);
            Some(GrantedTo {
                group: group?,
                kind: kind?,
                name,
            })
        });
        spec.finish(&[]);
        Some(ReferenceGrant {
            from: from?,
            to: to?,
        })
    });
    fields.finish(&[]);
    grant.map(Resource::ReferenceGrant)
}
