//! Translates the Gateway API into the resources of Istio: a listener becomes a Gateway
//! with one server, and the rules of all HTTPRoutes for a host become one VirtualService.
//!
//! Rules are in the order of the Gateway API: the most specific path first, then rules with
//! a method, with more headers, with more query parameters, and then the oldest route.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use galleria_manifest::WithPosition;
use galleria_manifest::model::{
    AllowedNamespaces, Backend, CertificateSource, Gateway, GatewayApiGateway, GatewayApiHttpRoute,
    HttpMatch, HttpRoute, Labels, MatchedRule, Object, ParentKind, Protocol, ReferenceGrant,
    RouteParent, Server, ServerCertificate, ServerTls, StringMatch,
};

use super::delegate::{BoundRoute, BoundVirtualService};
use super::edge::intersection;
use super::export::ExportTo;
use super::inventory::{Inventory, Source, full_name};
use crate::Options;
use crate::decide::host::canonical;
use crate::decide::rule::HTTP_ROUTE;

/// The label that every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// One listener of a Gateway.
#[derive(Debug)]
pub(crate) struct BoundListener<'a> {
    /// `namespace/name/listener`.
    pub(crate) name: String,
    object: &'a Object,
    section: &'a str,
    port: u16,
    /// `*` if it has no hostname.
    host: String,
    allowed: &'a AllowedNamespaces,
    takes_http: bool,
    gateway: Gateway,
}

impl<'a> BoundListener<'a> {
    pub(crate) fn source(&'a self) -> Source<'a, Gateway> {
        Source {
            object: self.object,
            spec: &self.gateway,
        }
    }

    /// The Gateway's namespace and name.
    pub(crate) fn gateway_name(&self) -> (&str, &str) {
        let metadata = &self.object.metadata;
        (&metadata.namespace, metadata.name.as_str())
    }

    /// The port and the host that it serves; `*` is every host.
    pub(crate) fn address(&self) -> (u16, &str) {
        (self.port, &self.host)
    }

    fn is_parent(&self, parent: &RouteParent, namespace: &str) -> bool {
        let metadata = &self.object.metadata;
        metadata.name.value == parent.name.value
            && metadata.namespace == parent.namespace.as_deref().unwrap_or(namespace)
            && parent
                .section
                .as_deref()
                .is_none_or(|section| section == self.section)
            && parent.port.is_none_or(|port| port == self.port)
    }

    fn allows(&self, namespace: &str, namespaces: &[&Object]) -> bool {
        if !self.takes_http {
            return false;
        }
        match self.allowed {
            AllowedNamespaces::All => true,
            AllowedNamespaces::Same => namespace == self.object.metadata.namespace,
            AllowedNamespaces::Selected(selector) => {
                let declared = namespaces
                    .iter()
                    .find(|it| it.metadata.name.value == namespace);
                let mut labels = declared.map_or_else(Labels::new, |it| it.metadata.labels.clone());
                labels.insert(NAMESPACE_NAME.into(), namespace.into());
                selector.matches(&labels)
            }
        }
    }
}

/// Every listener of every Gateway of the Gateway API.
pub(crate) fn listeners<'a>(
    gateways: &[Source<'a, GatewayApiGateway>],
    grants: &[Source<'a, ReferenceGrant>],
) -> Vec<BoundListener<'a>> {
    let listeners = gateways.iter().flat_map(|source| {
        let (object, spec) = (source.object, source.spec);
        spec.listeners.iter().map(move |listener| {
            let any = || WithPosition::new("*".to_owned(), listener.at.clone());
            let tls = matches!(listener.protocol, Protocol::Https | Protocol::Tls);
            let server = Server {
                at: listener.at.clone(),
                name: Some(listener.name.value.clone()),
                port: listener.port.clone(),
                port_name: listener.name.value.clone(),
                protocol: listener.protocol,
                hosts: vec![listener.hostname.clone().unwrap_or_else(any)],
                tls: tls.then(|| granted(listener.server_tls(), object, grants)),
            };
            let metadata = &object.metadata;
            BoundListener {
                name: format!("{}/{}/{}", metadata.namespace, metadata.name, listener.name),
                object,
                section: &listener.name.value,
                port: listener.port.value,
                host: server_host(&server),
                allowed: &listener.allowed,
                takes_http: listener.takes_http,
                gateway: Gateway {
                    selector: Labels::new(),
                    servers: vec![server],
                    topology: spec.topology,
                },
            }
        })
    });
    listeners.collect()
}

/// `tls` without certificates if one of them is in another namespace that does not grant its
/// use.
fn granted(
    mut tls: ServerTls,
    object: &Object,
    grants: &[Source<'_, ReferenceGrant>],
) -> ServerTls {
    let own = object.metadata.namespace.as_str();
    let is_granted = |certificate: &ServerCertificate| match &certificate.source {
        CertificateSource::Secret {
            name,
            namespace: Some(namespace),
        } => {
            let grant = |grant: &Source<'_, ReferenceGrant>| {
                grant.namespace() == namespace && grant.spec.allows_certificate(own, name)
            };
            namespace == own || grants.iter().any(grant)
        }
        CertificateSource::Secret { .. } | CertificateSource::Files { .. } => true,
    };
    if !tls.certificates.iter().all(is_granted) {
        tls.certificates.clear();
    }
    tls
}

fn server_host(server: &Server) -> String {
    let host = server.hosts.first().map_or("*", |host| host.as_str());
    canonical(host).into_owned()
}

/// Where rules apply. Rules are ordered among those of the same place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Calls of one Service from one namespace: a consumer route. It has precedence over
    /// producer routes.
    Consumer { host: String, namespace: String },
    /// Calls of one Service from every namespace: a producer route.
    Producer { host: String },
    /// A host on a listener, by the index of the listener.
    Listener { number: usize, host: String },
}

/// The rules of all HTTPRoutes, by the place where they apply.
pub(crate) fn bind<'a>(
    inventory: &Inventory<'a>,
    listeners: &[BoundListener<'_>],
    options: &Options,
) -> Vec<BoundVirtualService<'a>> {
    let mut places: BTreeMap<Place, Vec<BoundRoute<'a>>> = BTreeMap::new();
    for source in &inventory.gateway_api_routes {
        for parent in &source.spec.parents {
            match parent.kind {
                ParentKind::Service => {
                    let place = service_place(source, parent, options);
                    let rules = rules(source, inventory, parent.port);
                    places.entry(place).or_default().extend(rules);
                }
                ParentKind::Gateway => {
                    for place in listener_places(source, parent, listeners, inventory) {
                        let rules = rules(source, inventory, None);
                        places.entry(place).or_default().extend(rules);
                    }
                }
            }
        }
    }
    let bound = places.into_iter().filter_map(|(place, mut routes)| {
        // The sort is stable: equal rules stay in the order of age.
        routes.sort_by_key(|route| precedence(&route.route));
        let object = Arc::clone(&routes.first()?.object);
        let (host, gateway, export_to) = match place {
            Place::Consumer { host, namespace } => (
                host,
                "mesh".to_owned(),
                ExportTo::Namespaces(vec![namespace]),
            ),
            Place::Producer { host } => (host, "mesh".to_owned(), ExportTo::All),
            Place::Listener { number, host } => {
                (host, listeners.get(number)?.name.clone(), ExportTo::All)
            }
        };
        Some(BoundVirtualService {
            object,
            hosts: vec![host],
            gateways: vec![gateway],
            export_to,
            routes,
            tls: &[],
        })
    });
    bound.collect()
}

fn service_place(
    source: &Source<'_, GatewayApiHttpRoute>,
    parent: &RouteParent,
    options: &Options,
) -> Place {
    let own = source.namespace();
    let namespace = parent.namespace.as_deref().unwrap_or(own);
    let host = full_name(&parent.name, namespace, &options.cluster_domain);
    if namespace == own {
        Place::Producer { host }
    } else {
        Place::Consumer {
            host,
            namespace: own.to_owned(),
        }
    }
}

fn listener_places(
    source: &Source<'_, GatewayApiHttpRoute>,
    parent: &RouteParent,
    listeners: &[BoundListener<'_>],
    inventory: &Inventory<'_>,
) -> Vec<Place> {
    let namespace = source.namespace();
    let hosts: Vec<String> = if source.spec.hostnames.is_empty() {
        vec!["*".into()]
    } else {
        let hosts = source.spec.hostnames.iter();
        hosts.map(|host| canonical(host).into_owned()).collect()
    };
    let attached = listeners.iter().enumerate().filter(|(_, listener)| {
        listener.is_parent(parent, namespace) && listener.allows(namespace, &inventory.namespaces)
    });
    let places = attached.flat_map(|(number, listener)| {
        let shared = hosts
            .iter()
            .filter_map(|host| intersection(&listener.host, host));
        shared.map(move |host| Place::Listener {
            number,
            host: host.to_owned(),
        })
    });
    places.collect()
}

fn rules<'a>(
    source: &Source<'a, GatewayApiHttpRoute>,
    inventory: &Inventory<'_>,
    port: Option<u16>,
) -> Vec<BoundRoute<'a>> {
    let object = Arc::new(source.reference(HTTP_ROUTE));
    let namespace = source.namespace();
    let rules = source.spec.rules.iter().map(|rule| BoundRoute {
        object: Arc::clone(&object),
        index: rule.index,
        route: narrowed(rule, port, &refused(&rule.mirrors, namespace, inventory)),
        refused: refused(&rule.backends, namespace, inventory),
    });
    rules.collect()
}

/// Narrows the rule to calls of one port of a Service, if there is one, and removes the
/// refused mirrors.
fn narrowed<'a>(
    rule: &'a MatchedRule,
    port: Option<u16>,
    refused_mirrors: &[usize],
) -> Cow<'a, HttpRoute> {
    if port.is_none() && refused_mirrors.is_empty() {
        return Cow::Borrowed(&rule.route);
    }
    let mut route = rule.route.clone();
    for condition in &mut route.matches {
        condition.port = port;
    }
    let mut number = 0;
    route.mirrors.retain(|_| {
        number += 1;
        !refused_mirrors.contains(&(number - 1))
    });
    Cow::Owned(route)
}

/// The indices of backends that cannot be called, or whose namespace does not grant the
/// reference.
fn refused(backends: &[Backend], namespace: &str, inventory: &Inventory<'_>) -> Vec<usize> {
    let refused = backends.iter().enumerate().filter(|(_, backend)| {
        let home = backend.namespace.as_deref().unwrap_or(namespace);
        let granted = || {
            inventory.reference_grants.iter().any(|grant| {
                grant.namespace() == home && grant.spec.allows_service(namespace, &backend.name)
            })
        };
        !backend.is_service || (home != namespace && !granted())
    });
    refused.map(|(number, _)| number).collect()
}

/// The sort key of a rule. The rule with the smallest key is tested first.
fn precedence(route: &HttpRoute) -> impl Ord + use<> {
    let condition: Option<&HttpMatch> = route.matches.first();
    let uri = condition.and_then(|condition| condition.uri.as_ref());
    let (kind, length) = match uri {
        Some(StringMatch::Exact(path)) => (0, path.len()),
        Some(StringMatch::PathPrefix(path)) => (1, path.len()),
        // The Gateway API does not define the precedence of regular expressions; as in Istio.
        Some(other) => (2, other.pattern().len()),
        None => (3, 0),
    };
    let method = condition.is_some_and(|condition| condition.method.is_some());
    let headers = condition.map_or(0, |condition| condition.headers.len());
    let parameters = condition.map_or(0, |condition| condition.query_params.len());
    (
        kind,
        Reverse(length),
        Reverse(method),
        Reverse(headers),
        Reverse(parameters),
    )
}
