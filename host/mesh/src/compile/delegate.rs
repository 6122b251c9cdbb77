//! VirtualServices with the rules of their delegates.
//!
//! The rules of the delegate replace the rule that delegates, each narrowed to the match of
//! the parent. Fields that the child does not set come from the parent. A child whose match
//! contradicts the parent's is dropped. There is one level of delegation, as in Istio.

use std::borrow::Cow;
use std::sync::Arc;

use galleria_manifest::model::{
    HeaderOperations, HttpMatch, HttpRoute, StringMatch, TlsRoute, VirtualService,
};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::export::{ExportTo, View};
use super::inventory::{Inventory, Source, full_name};
use crate::{ObjectRef, Options, RouteId};

/// A VirtualService with its hosts and gateways.
#[derive(Debug)]
pub(crate) struct BoundVirtualService<'a> {
    pub(crate) object: Arc<ObjectRef>,
    /// Full names in lower case.
    pub(crate) hosts: Vec<String>,
    /// `mesh`, or `namespace/name`.
    pub(crate) gateways: Vec<String>,
    pub(crate) export_to: ExportTo,
    pub(crate) routes: Vec<BoundRoute<'a>>,
    /// For connections that gateways pass through.
    pub(crate) tls: &'a [TlsRoute],
}

/// A rule of the VirtualService itself or of a delegate.
#[derive(Debug)]
pub(crate) struct BoundRoute<'a> {
    pub(crate) object: Arc<ObjectRef>,
    /// Its index in `spec.http` of `object`.
    pub(crate) index: usize,
    pub(crate) route: Cow<'a, HttpRoute>,
    /// The indices of destinations that the route must not use or that cannot be called.
    pub(crate) refused: Vec<usize>,
}

impl BoundRoute<'_> {
    pub(crate) fn id(&self) -> RouteId {
        RouteId::new(&self.object, self.route.name.as_deref(), self.index)
    }
}

/// All VirtualServices with hosts, oldest first.
pub(crate) fn bind<'a>(
    inventory: &Inventory<'a>,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<BoundVirtualService<'a>> {
    let (delegates, roots): (Vec<_>, Vec<_>) = inventory
        .virtual_services
        .iter()
        .partition(|source| source.spec.hosts.is_empty());
    let bound = roots.into_iter().map(|source| {
        let namespace = source.namespace();
        let hosts = source.spec.hosts.iter();
        let gateways = source.spec.gateways.iter();
        BoundVirtualService {
            object: Arc::new(source.reference("VirtualService")),
            hosts: hosts
                .map(|host| full_name(host, namespace, &options.cluster_domain))
                .collect(),
            gateways: gateway_names(gateways.map(|name| name.as_str()), namespace),
            export_to: ExportTo::new(&source.spec.export_to, namespace),
            routes: routes(source, &delegates, options, diagnostics),
            tls: &source.spec.tls,
        }
    });
    bound.collect()
}

/// `mesh`, or `namespace/name` (`.` is the own namespace); `[mesh]` if none is given.
pub(crate) fn gateway_names<'a>(
    names: impl Iterator<Item = &'a str>,
    namespace: &str,
) -> Vec<String> {
    let names: Vec<String> = names.map(|name| gateway_name(name, namespace)).collect();
    if names.is_empty() {
        vec!["mesh".into()]
    } else {
        names
    }
}

pub(crate) fn gateway_name(name: &str, namespace: &str) -> String {
    match name.split_once('/') {
        None if name == "mesh" => name.to_owned(),
        None | Some((".", _)) => {
            format!("{namespace}/{}", name.strip_prefix("./").unwrap_or(name))
        }
        Some(_) => name.to_owned(),
    }
}

fn routes<'a>(
    source: &Source<'a, VirtualService>,
    delegates: &[&Source<'a, VirtualService>],
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<BoundRoute<'a>> {
    let object = Arc::new(source.reference("VirtualService"));
    let mut routes = Vec::new();
    for (index, parent) in source.spec.http.iter().enumerate() {
        let Some(reference) = &parent.delegate else {
            let object = Arc::clone(&object);
            routes.push(BoundRoute {
                object,
                index,
                route: Cow::Borrowed(parent),
                refused: Vec::new(),
            });
            continue;
        };
        let namespace = reference.namespace.as_deref().unwrap_or(source.namespace());
        let delegate = delegates.iter().find(|delegate| {
            delegate.namespace() == namespace
                && delegate.name() == reference.name.as_str()
                && ExportTo::new(&delegate.spec.export_to, namespace)
                    .reaches(View::Namespace(source.namespace()))
        });
        match delegate {
            Some(delegate) => {
                let parent = resolved(parent, source.namespace(), options);
                let parent = (index, &parent);
                delegated(source, parent, delegate, options, diagnostics, &mut routes);
            }
            None => diagnostics.push(Diagnostic {
                at: reference.name.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("VirtualService/{}", source.name())),
                path: format!("spec.http[{index}].delegate"),
                message: format!(
                    "no VirtualService {namespace}/{} without hosts is exported to {}; the \
                     rule is ignored",
                    reference.name.as_str(),
                    source.namespace()
                ),
                code: "IST0101",
                unenforced: None,
            }),
        }
    }
    routes
}

fn delegated<'a>(
    root: &Source<'a, VirtualService>,
    (parent_index, parent): (usize, &HttpRoute),
    delegate: &Source<'a, VirtualService>,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
    routes: &mut Vec<BoundRoute<'a>>,
) {
    let object = Arc::new(delegate.reference("VirtualService"));
    for (index, child) in delegate.spec.http.iter().enumerate() {
        match merge(parent, &resolved(child, delegate.namespace(), options)) {
            Some(route) => {
                let object = Arc::clone(&object);
                routes.push(BoundRoute {
                    object,
                    index,
                    route: Cow::Owned(route),
                    refused: Vec::new(),
                });
            }
            None => diagnostics.push(Diagnostic {
                at: child.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("VirtualService/{}", delegate.name())),
                path: format!("spec.http[{index}].match"),
                message: format!(
                    "is outside of what spec.http[{parent_index}] of VirtualService {} \
                     delegates; the rule is ignored there",
                    root.name()
                ),
                code: codes::DELEGATE_UNREACHABLE,
                unenforced: None,
            }),
        }
    }
}

/// A rule whose names of gateways and mirrors mean the same in every namespace: parent and child
/// can be in different ones.
fn resolved(route: &HttpRoute, namespace: &str, options: &Options) -> HttpRoute {
    let mut route = route.clone();
    for gateway in route.matches.iter_mut().flat_map(|it| &mut it.gateways) {
        gateway.value = gateway_name(gateway, namespace);
    }
    for mirror in &mut route.mirrors {
        let host = &mut mirror.destination.host;
        host.value = full_name(host, namespace, &options.cluster_domain);
    }
    route
}

/// The child's rule, narrowed to the parent's match; `None` if they contradict each other.
fn merge(parent: &HttpRoute, child: &HttpRoute) -> Option<HttpRoute> {
    let mut merged = child.clone();
    merged.matches = merge_matches(&parent.matches, &child.matches)?;
    merged.name = match (&parent.name, &child.name) {
        (Some(parent), Some(child)) => Some(format!("{parent}-{child}")),
        (parent, child) => child.clone().or_else(|| parent.clone()),
    };
    let says_nothing = |operations: &HeaderOperations| {
        [&operations.request, &operations.response]
            .iter()
            .all(|changes| {
                changes.set.is_empty() && changes.add.is_empty() && changes.remove.is_empty()
            })
    };
    if says_nothing(&merged.headers) {
        merged.headers = parent.headers.clone();
    }
    if merged.mirrors.is_empty() {
        merged.mirrors.clone_from(&parent.mirrors);
    }
    merged.rewrite = merged.rewrite.or_else(|| parent.rewrite.clone());
    merged.timeout = merged.timeout.or(parent.timeout);
    merged.retries = merged.retries.or_else(|| parent.retries.clone());
    merged.fault = merged.fault.or_else(|| parent.fault.clone());
    merged.cors_policy = merged.cors_policy.or_else(|| parent.cors_policy.clone());
    Some(merged)
}

/// Combines every block of the child with every block of the parent that it does not
/// contradict.
fn merge_matches(parents: &[HttpMatch], children: &[HttpMatch]) -> Option<Vec<HttpMatch>> {
    if parents.is_empty() || children.is_empty() {
        return Some(
            if parents.is_empty() {
                children
            } else {
                parents
            }
            .to_vec(),
        );
    }
    let mut merged = Vec::new();
    for child in children {
        let before = merged.len();
        let fitting = parents.iter().filter(|parent| !contradicts(parent, child));
        merged.extend(fitting.map(|parent| merge_match(parent, child)));
        if merged.len() == before {
            return None;
        }
    }
    Some(merged)
}

fn contradicts(parent: &HttpMatch, child: &HttpMatch) -> bool {
    let lists = [
        (&parent.headers, &child.headers),
        (&parent.without_headers, &child.without_headers),
        (&parent.query_params, &child.query_params),
    ];
    let in_lists = lists.iter().any(|(parents, children)| {
        parents.iter().any(|(name, parent)| {
            children
                .iter()
                .any(|(other, child)| other == name && outside(Some(parent), Some(child)))
        })
    });
    let labels = parent.source_labels.iter().any(|(key, value)| {
        child
            .source_labels
            .get(key)
            .is_some_and(|other| other != value)
    });
    let differ = |this: Option<&str>, other: Option<&str>| {
        this.zip(other).is_some_and(|(this, other)| this != other)
    };
    let gateways = !parent.gateways.is_empty()
        && child
            .gateways
            .iter()
            .any(|gateway| !parent.gateways.contains(gateway));
    let both_paths = parent.uri.is_some() && child.uri.is_some();
    (both_paths && parent.ignore_uri_case != child.ignore_uri_case)
        || outside(parent.uri.as_ref(), child.uri.as_ref())
        || outside(parent.scheme.as_ref(), child.scheme.as_ref())
        || outside(parent.method.as_ref(), child.method.as_ref())
        || outside(parent.authority.as_ref(), child.authority.as_ref())
        || in_lists
        || labels
        || gateways
        || parent
            .port
            .zip(child.port)
            .is_some_and(|(parent, child)| parent != child)
        || differ(
            parent.source_namespace.as_deref(),
            child.source_namespace.as_deref(),
        )
}

/// Whether the child can match a value that the parent does not match. Two regular
/// expressions are not compared: they count as a contradiction.
fn outside(parent: Option<&StringMatch>, child: Option<&StringMatch>) -> bool {
    use StringMatch::{Exact, PathPrefix, Prefix, Present, Regex};
    match (parent, child) {
        (None | Some(Present), _) | (_, None | Some(Present)) => false,
        // VirtualServices do not have this kind of match.
        (Some(PathPrefix(_)), _) | (_, Some(PathPrefix(_))) => true,
        (Some(Regex { .. }), Some(_)) | (Some(_), Some(Regex { .. })) => true,
        (Some(Exact(parent)), Some(Exact(child))) => parent != child,
        (Some(Exact(_)), Some(Prefix(_))) => true,
        (Some(Prefix(parent)), Some(Exact(child) | Prefix(child))) => {
            !child.starts_with(parent.as_str())
        }
    }
}

fn merge_match(parent: &HttpMatch, child: &HttpMatch) -> HttpMatch {
    let mut merged = child.clone();
    if merged.uri.is_none() {
        merged.uri.clone_from(&parent.uri);
        merged.ignore_uri_case = parent.ignore_uri_case;
    }
    merged.scheme = merged.scheme.or_else(|| parent.scheme.clone());
    merged.method = merged.method.or_else(|| parent.method.clone());
    merged.authority = merged.authority.or_else(|| parent.authority.clone());
    merged.port = merged.port.or(parent.port);
    merged.source_namespace = merged
        .source_namespace
        .or_else(|| parent.source_namespace.clone());
    for (key, value) in &parent.source_labels {
        merged
            .source_labels
            .entry(key.clone())
            .or_insert_with(|| value.clone());
    }
    if merged.gateways.is_empty() {
        merged.gateways.clone_from(&parent.gateways);
    }
    let lists = [
        (&parent.headers, &mut merged.headers),
        (&parent.without_headers, &mut merged.without_headers),
        (&parent.query_params, &mut merged.query_params),
    ];
    for (parents, children) in lists {
        for (name, value) in parents {
            if children.iter().all(|(other, _)| other != name) {
                children.push((name.clone(), value.clone()));
            }
        }
    }
    merged
}
