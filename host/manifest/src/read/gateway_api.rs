//! The Gateway API's Gateway and ReferenceGrant; routes are in `route.rs`.

mod filter;
mod matches;
mod route;

pub(crate) use route::read as http_route;

use super::{gateway_topology, selector};
use crate::codes;
use crate::decode::{
    Decoder, Fields, choice, dns_label, dns_name, located, located_string, non_empty, port, string,
};
use crate::model::{
    AllowedNamespaces, CertificateReference, GatewayApiGateway, GatewayListener, GrantedFrom,
    GrantedTo, Protocol, ReferenceGrant, Resource, TlsMode,
};
use crate::yaml::Node;

pub(crate) fn gateway(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let topology = gateway_topology::annotated(&mut fields);
    let gateway = fields.required("spec", |d, node| {
        let mut spec = Fields::of(d, node)?;
        spec.required("gatewayClassName", non_empty);
        let mut listeners = spec.required_list("listeners", listener);
        if spec.has("tls") {
            let message = "is not supported by this host, so the HTTPS listeners of this Gateway are not opened";
            spec.warn_at("tls", codes::TLS_NOT_SERVED, message.to_owned());
            spec.ignore(&["tls"]);
            for listener in listeners.iter_mut().flatten() {
                listener.unenforced = Some("`spec.tls` of the Gateway is not supported by this host");
            }
        }
        spec.finish(&[
            "addresses",
            "allowedListeners",
            "backendTLS",
            "defaultScope",
            "infrastructure",
        ]);
        Some(GatewayApiGateway {
            listeners: listeners?,
            topology,
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
    let secure = matches!(protocol, Some(Protocol::Https | Protocol::Tls));
    if secure && tls.mode == TlsMode::Passthrough || protocol == Some(Protocol::Tls) {
        let message = "TLS that the host does not terminate is not supported, so this listener is not opened; use `protocol: HTTPS` with mode Terminate";
        fields.warn_at("protocol", codes::TLS_NOT_SERVED, message.to_owned());
    }
    let allowed = fields.optional("allowedRoutes", allowed_routes);
    let (allowed, takes_http) = allowed.unwrap_or((AllowedNamespaces::Same, true));
    let terminates = tls.mode != TlsMode::Passthrough;
    if protocol == Some(Protocol::Https) && tls.certificates.is_empty() && terminates {
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
        certificates: tls.certificates,
        tls_mode: tls.mode,
        unenforced: tls.unenforced,
        allowed,
        takes_http,
    })
}

struct Tls {
    certificates: Vec<CertificateReference>,
    mode: TlsMode,
    unenforced: Option<&'static str>,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            mode: TlsMode::Simple,
            unenforced: None,
        }
    }
}

/// Istio's option for listeners that verify clients.
const TERMINATE_MODE: &str = "gateway.istio.io/tls-terminate-mode";

fn tls(d: &mut Decoder, node: &Node) -> Option<Tls> {
    let mut fields = Fields::of(d, node)?;
    let modes = [
        ("Terminate", TlsMode::Simple),
        ("Passthrough", TlsMode::Passthrough),
    ];
    let mode = fields.optional("mode", |d, node| choice(d, node, "a TLS mode", &modes));
    let certificates = fields.list("certificateRefs", certificate);
    let terminate_mode = fields.optional("options", options).flatten();
    let mut unenforced = None;
    if fields.has("frontendValidation") {
        unenforced = Some("frontendValidation is not supported by this host");
        let message = "is not supported by this host, so this listener is not opened; use the option gateway.istio.io/tls-terminate-mode: MUTUAL, and put ca.crt into the Secret".to_owned();
        fields.warn_at("frontendValidation", codes::TLS_NOT_SERVED, message);
    }
    fields.ignore(&["frontendValidation"]);
    fields.finish(&[]);
    let mode = mode.unwrap_or(TlsMode::Simple);
    Some(Tls {
        certificates,
        mode: match mode {
            TlsMode::Simple => terminate_mode.unwrap_or(mode),
            mode => mode,
        },
        unenforced,
    })
}

/// The mode that Istio's option selects.
#[expect(clippy::option_option, reason = "the outer is an error")]
fn options(d: &mut Decoder, node: &Node) -> Option<Option<TlsMode>> {
    let mut fields = Fields::of(d, node)?;
    let modes = [
        ("SIMPLE", TlsMode::Simple),
        ("MUTUAL", TlsMode::Mutual),
        ("OPTIONAL_MUTUAL", TlsMode::OptionalMutual),
    ];
    let mode = fields.optional(TERMINATE_MODE, |d, node| {
        choice(d, node, "a mode that this host supports", &modes)
    });
    fields.finish(&[]);
    Some(mode)
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
