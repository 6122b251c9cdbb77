//! The Gateway API: `gateway.networking.k8s.io`.
//!
//! A rule of an HTTPRoute is read as a rule of a VirtualService, once for each of its
//! matches, since the order of precedence is that of matches.

use super::{
    CertificateSource, GatewayTopology, HttpRoute, LabelSelector, Protocol, ServerCertificate,
    ServerTls, TlsMode,
};
use crate::{Position, WithPosition};

/// Kind Gateway of the Gateway API. The host implements every class.
#[derive(Debug, Clone)]
pub struct GatewayApiGateway {
    pub listeners: Vec<GatewayListener>,
    /// That of the annotation `proxy.istio.io/config`.
    pub topology: Option<GatewayTopology>,
}

#[derive(Debug, Clone)]
pub struct GatewayListener {
    pub at: Position,
    pub name: WithPosition<String>,
    pub port: WithPosition<u16>,
    pub protocol: Protocol,
    /// None for every host.
    pub hostname: Option<WithPosition<String>>,
    /// `tls.certificateRefs`.
    pub certificates: Vec<CertificateReference>,
    /// `Passthrough` or `Simple` by `tls.mode`; another one by Istio's option
    /// `gateway.istio.io/tls-terminate-mode`.
    pub tls_mode: TlsMode,
    /// Why the host must not open the listener: a restriction that it does not enforce.
    pub unenforced: Option<&'static str>,
    pub allowed: AllowedNamespaces,
    /// False if `allowedRoutes.kinds` does not contain HTTPRoute.
    pub takes_http: bool,
}

#[derive(Debug, Clone)]
pub struct CertificateReference {
    pub name: WithPosition<String>,
    /// By default that of the Gateway.
    pub namespace: Option<String>,
}

/// `allowedRoutes.namespaces`.
#[derive(Debug, Clone)]
pub enum AllowedNamespaces {
    Same,
    All,
    Selected(LabelSelector),
}

/// Kind HTTPRoute.
#[derive(Debug, Clone)]
pub struct GatewayApiHttpRoute {
    pub parents: Vec<RouteParent>,
    /// Empty for every host of its parents.
    pub hostnames: Vec<WithPosition<String>>,
    pub rules: Vec<MatchedRule>,
}

/// The parent of a route.
#[derive(Debug, Clone)]
pub struct RouteParent {
    pub at: Position,
    pub kind: ParentKind,
    pub name: WithPosition<String>,
    /// By default that of the route.
    pub namespace: Option<String>,
    /// One listener of a Gateway; None for all.
    pub section: Option<String>,
    pub port: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentKind {
    Gateway,
    /// Calls from inside the mesh to this Service.
    Service,
}

/// One match of a rule, with the actions of the rule.
#[derive(Debug, Clone)]
pub struct MatchedRule {
    /// The index in `spec.rules`.
    pub index: usize,
    /// With exactly one match.
    pub route: HttpRoute,
    /// In the order of `route.route`.
    pub backends: Vec<Backend>,
    /// In the order of `route.mirrors`.
    pub mirrors: Vec<Backend>,
}

/// The target of a `backendRef`.
#[derive(Debug, Clone)]
pub struct Backend {
    pub at: Position,
    pub name: String,
    /// By default that of the route.
    pub namespace: Option<String>,
    /// False for a kind that cannot be called.
    pub is_service: bool,
}

/// Kind ReferenceGrant.
#[derive(Debug, Clone)]
pub struct ReferenceGrant {
    pub from: Vec<GrantedFrom>,
    pub to: Vec<GrantedTo>,
}

#[derive(Debug, Clone)]
pub struct GrantedFrom {
    pub group: String,
    pub kind: String,
    pub namespace: String,
}

#[derive(Debug, Clone)]
pub struct GrantedTo {
    pub group: String,
    pub kind: String,
    /// None for every object of the kind.
    pub name: Option<String>,
}

impl GatewayListener {
    /// The settings of `tls`, as those of a server of Istio's Gateway.
    pub fn server_tls(&self) -> ServerTls {
        let certificates = self.certificates.iter().enumerate();
        let certificates = certificates.map(|(number, reference)| ServerCertificate {
            field: format!("certificateRefs[{number}].name"),
            source: CertificateSource::Secret {
                name: reference.name.clone(),
                namespace: reference.namespace.clone(),
            },
        });
        ServerTls::new(self.at.clone(), self.tls_mode, certificates.collect())
    }
}

impl ReferenceGrant {
    /// Whether HTTPRoutes of `namespace` may send requests to the Service `name`.
    pub fn allows_service(&self, namespace: &str, name: &str) -> bool {
        self.allows(("HTTPRoute", namespace), ("Service", name))
    }

    /// Whether Gateways of `namespace` may use the certificate `name`.
    pub fn allows_certificate(&self, namespace: &str, name: &str) -> bool {
        self.allows(("Gateway", namespace), ("Secret", name))
    }

    fn allows(&self, (by, namespace): (&str, &str), (kind, name): (&str, &str)) -> bool {
        let from = self.from.iter().any(|from| {
            from.group == "gateway.networking.k8s.io"
                && from.kind == by
                && from.namespace == namespace
        });
        let to = self.to.iter().any(|to| {
            to.group.is_empty()
                && to.kind == kind
                && to.name.as_deref().is_none_or(|only| only == name)
        });
        from && to
    }
}
