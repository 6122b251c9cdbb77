//! Ingresses: the paths of all Ingresses for a host, exact paths first, then the longest
//! prefix, and the default backend last.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use galleria_manifest::model::{
    Ingress, IngressBackend, IngressPath, IngressTls, PathType, PortReference, Protocol,
};
use regex::{Regex, RegexBuilder};

use super::clusters::Clusters;
use super::export::View;
use super::inventory::{Inventory, Source, full_name};
use super::rules::plain_rule;
use crate::decide::condition::{Condition, UriMatch};
use crate::decide::host::canonical;
use crate::decide::listener::{Listener, ListenerPurpose, ListenerServer, ListenerTls};
use crate::decide::rewrite::Rewrite;
use crate::decide::rule::{Block, ClusterChoice, Rule};
use crate::{Options, RouteId};

/// The name of the rule of `defaultBackend`.
pub(crate) const DEFAULT_BACKEND: &str = "default-backend";

/// The hosts of all Ingresses.
#[derive(Debug, Default)]
pub(crate) struct IngressHosts {
    /// 80, and 443 if an Ingress has `tls`.
    pub(crate) listeners: Vec<Listener>,
    /// By host, `*` for rules without a host; in the order in which they are tested.
    pub(crate) hosts: BTreeMap<String, Vec<Arc<Rule>>>,
}

/// Exact paths, then prefixes, then regular expressions; the longest first.
type Rank = (u8, Reverse<usize>);

pub(crate) fn ingress_hosts(
    inventory: &Inventory<'_>,
    clusters: &mut Clusters<'_>,
    options: &Options,
) -> IngressHosts {
    let mut ranked: BTreeMap<String, Vec<(Rank, Rule)>> = BTreeMap::new();
    let mut defaults = Vec::new();
    let mut listeners = Vec::new();
    for source in &inventory.ingresses {
        listeners.push(listener(source, None));
        let tls = source.spec.tls.iter().enumerate();
        listeners.extend(tls.map(|tls| listener(source, Some(tls))));
        for (index, (host, path)) in paths(source.spec).enumerate() {
            let ranked = ranked.entry(canonical(host).into_owned()).or_default();
            ranked.push(path_rule(source, index, path, clusters, options));
        }
        if let Some(backend) = &source.spec.default_backend {
            let cluster = backend_cluster(source, backend, clusters, options);
            let mut rule = plain_rule(
                Vec::new(),
                &backend.service_name,
                cluster,
                Rewrite::default(),
            );
            let object = source.reference("Ingress");
            rule.id = Some(Arc::new(RouteId::new(&object, Some(DEFAULT_BACKEND), 0)));
            rule.object = Some(Arc::new(object));
            rule.name = DEFAULT_BACKEND.into();
            defaults.push(Arc::new(rule));
            ranked.entry("*".into()).or_default();
        }
    }
    let hosts = ranked.into_iter().map(|(host, mut ranked)| {
        // The sort is stable: of equal paths, that of the older Ingress is tested first.
        ranked.sort_by_key(|(rank, _)| *rank);
        let rules = ranked.into_iter().map(|(_, rule)| Arc::new(rule));
        // The oldest default backend serves requests that no path matches.
        (host, rules.chain(defaults.first().cloned()).collect())
    });
    IngressHosts {
        listeners,
        hosts: hosts.collect(),
    }
}

/// Every path with its host.
fn paths(ingress: &Ingress) -> impl Iterator<Item = (&str, &IngressPath)> {
    ingress.rules.iter().flat_map(|rule| {
        let host = rule.host.as_ref().map_or("*", |host| host.as_str());
        let host = if host.is_empty() { "*" } else { host };
        rule.paths.iter().map(move |path| (host, path))
    })
}

fn path_rule(
    source: &Source<'_, Ingress>,
    index: usize,
    path: &IngressPath,
    clusters: &mut Clusters<'_>,
    options: &Options,
) -> (Rank, Rule) {
    let target = source.spec.rewrite_target.as_deref();
    let pattern = target.and_then(|_| nginx_pattern(&path.path));
    let rewrite = match (target, &pattern) {
        (Some(target), pattern) => Rewrite::whole_path(target, pattern.as_ref()),
        (None, _) => Rewrite::default(),
    };
    let text = element_prefix(&path.path);
    let (rank, uri) = match (pattern, path.path_type) {
        (Some(regex), _) => {
            let pattern = regex.as_str().to_owned();
            (
                (2, Reverse(path.path.len())),
                UriMatch::Regex { pattern, regex },
            )
        }
        (None, PathType::Exact) => (
            (0, Reverse(path.path.len())),
            UriMatch::Exact(path.path.clone()),
        ),
        (None, PathType::Prefix | PathType::ImplementationSpecific) => {
            ((1, Reverse(text.len())), UriMatch::Element(text.to_owned()))
        }
    };
    let cluster = backend_cluster(source, &path.backend, clusters, options);
    let block = Block {
        at: Some(path.at.clone()),
        conditions: vec![Condition::Uri(uri)],
    };
    let mut rule = plain_rule(vec![block], &path.backend.service_name, cluster, rewrite);
    let object = source.reference("Ingress");
    rule.id = Some(Arc::new(RouteId::new(&object, None, index)));
    rule.object = Some(Arc::new(object));
    rule.index = index;
    rule.at = Some(path.at.clone());
    (rank, rule)
}

/// `/ui/*`, `/ui.*` and `/ui/` mean the prefix `/ui`.
fn element_prefix(path: &str) -> &str {
    let path = path
        .strip_suffix('*')
        .map_or(path, |path| path.strip_suffix('.').unwrap_or(path));
    path.trim_end_matches('/')
}

/// With `rewrite-target`, nginx reads paths as regular expressions that ignore case. `None`
/// if the path is plain text.
fn nginx_pattern(path: &str) -> Option<Regex> {
    let is_expression = path.contains(['(', '[', '|', '?', '+', '$', '\\']) || path.contains(".*");
    let pattern = format!("^{path}.*$");
    is_expression.then(|| {
        RegexBuilder::new(&pattern)
            .case_insensitive(true)
            .build()
            .ok()
    })?
}

fn backend_cluster(
    source: &Source<'_, Ingress>,
    backend: &IngressBackend,
    clusters: &mut Clusters<'_>,
    options: &Options,
) -> ClusterChoice {
    let namespace = source.namespace();
    let host = full_name(&backend.service_name, namespace, &options.cluster_domain);
    let view = View::Namespace(namespace);
    let number = clusters.registry.find(&host, view);
    let port = match &backend.service_port {
        PortReference::Number(port) => Some(*port),
        PortReference::Name(name) => number
            .and_then(|number| clusters.registry.services.get(number))
            .and_then(|service| {
                service
                    .ports
                    .iter()
                    .find(|port| port.name.as_ref() == Some(name))
            })
            .map(|port| port.number),
    };
    let cluster = number.zip(port).and_then(|(number, port)| {
        let number = clusters.registry.resolve_alias(number, view);
        clusters.cluster(number, port, None, View::Others)
    });
    let port = port.map(|port| port.to_string()).unwrap_or_default();
    cluster.map_or_else(
        || ClusterChoice::Missing(format!("outbound|{port}||{host}")),
        ClusterChoice::One,
    )
}

/// The listener for HTTP, or for an entry of `spec.tls` with its index.
fn listener(source: &Source<'_, Ingress>, tls: Option<(usize, &IngressTls)>) -> Listener {
    let gateway = source.reference("Ingress");
    let (port, protocol) = if tls.is_some() {
        (443, Protocol::Https)
    } else {
        (80, Protocol::Http)
    };
    let mut hosts: Vec<String> = match tls {
        Some((_, tls)) => {
            let hosts = tls.hosts.iter();
            hosts.map(|host| canonical(host).into_owned()).collect()
        }
        None => source
            .spec
            .rules
            .iter()
            .map(|rule| {
                rule.host
                    .as_ref()
                    .map_or_else(|| "*".into(), |host| host.value.clone())
            })
            .collect(),
    };
    if hosts.is_empty() {
        hosts.push("*".into());
    }
    let at = tls.map_or_else(|| gateway.at.clone(), |(_, tls)| tls.at.clone());
    let tls = tls.map(|(index, tls)| ListenerTls {
        settings: tls.server_tls(),
        namespace: source.namespace().to_owned(),
        path: format!("spec.tls[{index}]"),
        unenforced: None,
    });
    Listener {
        port,
        protocol,
        gateways: vec![gateway.qualified_name()],
        https_redirect: false,
        purpose: ListenerPurpose::Gateway,
        servers: vec![ListenerServer {
            sni_hosts: Vec::new(),
            at,
            gateway,
            name: None,
            hosts,
            https_redirect: false,
            tls,
        }],
    }
}
