//! Rules of VirtualServices, compiled for one gateway and one view.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use galleria_manifest::model::{HttpMatch, HttpRoute, RouteDestination};
use http::StatusCode;

use super::clusters::Clusters;
use super::delegate::{BoundRoute, BoundVirtualService, gateway_name};
use super::export::View;
use crate::RetryPolicy;
use crate::decide::claim::ClaimKey;
use crate::decide::condition::{Condition, HeaderKey, UriMatch};
use crate::decide::cors::Cors;
use crate::decide::fault::Fault;
use crate::decide::headers::HeaderChanges;
use crate::decide::redirect::Redirect;
use crate::decide::rewrite::Rewrite;
use crate::decide::rule::{Action, Block, ClusterChoice, ForwardAction, Rule, WeightedDestination};

/// The gateway and the views for which rules are compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Scope<'a> {
    /// `mesh`, or `namespace/name` of a Gateway.
    pub(crate) gateway: &'a str,
    /// The view that finds the services.
    pub(crate) visible: View<'a>,
    /// The view that finds the DestinationRules.
    pub(crate) client: View<'a>,
    /// The port of a gateway; in the mesh, one table has the rules of all ports.
    pub(crate) port: Option<u16>,
}

/// Compiled rules by VirtualService and scope. Hosts share them.
#[derive(Default)]
pub(crate) struct Rules<'a> {
    compiled: HashMap<(usize, Scope<'a>), Arc<[Arc<Rule>]>>,
}

impl<'a> Rules<'a> {
    /// The rules, up to and including the first that matches everything.
    pub(crate) fn of(
        &mut self,
        number: usize,
        bound: &BoundVirtualService<'_>,
        scope: Scope<'a>,
        clusters: &mut Clusters<'_>,
    ) -> Arc<[Arc<Rule>]> {
        if let Some(rules) = self.compiled.get(&(number, scope)) {
            return Arc::clone(rules);
        }
        let mut rules = Vec::new();
        for route in &bound.routes {
            let Some(mut rule) = rule(route, scope, clusters) else {
                continue;
            };
            let last = rule.is_catch_all();
            // No block behind it is ever reached.
            let end = rule.blocks.iter().position(Block::is_catch_all);
            rule.blocks.truncate(end.map_or(usize::MAX, |end| end + 1));
            rules.push(Arc::new(rule));
            if last {
                break;
            }
        }
        let rules: Arc<[Arc<Rule>]> = rules.into();
        self.compiled.insert((number, scope), Arc::clone(&rules));
        rules
    }
}

/// `None` if none of its blocks applies in this scope.
fn rule(bound: &BoundRoute<'_>, scope: Scope<'_>, clusters: &mut Clusters<'_>) -> Option<Rule> {
    let route: &HttpRoute = &bound.route;
    let namespace = bound.object.namespace.as_str();
    let blocks = blocks(&route.matches, namespace, scope.gateway, scope.port);
    if blocks.is_empty() && !route.matches.is_empty() {
        return None;
    }
    let mut action = action(bound, scope, clusters)?;
    let mut request_headers = HeaderChanges::new(&route.headers.request);
    let mut response_headers = HeaderChanges::new(&route.headers.response);
    if let Action::Forward(forward) = &mut action
        && let [only] = forward.destinations.as_mut_slice()
        && route.route.len() == 1
    {
        request_headers.append(&mut only.request_headers);
        response_headers.append(&mut only.response_headers);
    }
    Some(Rule {
        name: route.name.clone().unwrap_or_else(|| "default".into()),
        object: Some(Arc::clone(&bound.object)),
        index: bound.index,
        id: Some(Arc::new(bound.id())),
        at: Some(route.at.clone()),
        blocks,
        fault: route.fault.as_ref().map(Fault::new),
        cors: route.cors_policy.as_ref().map(Cors::new),
        request_headers,
        response_headers,
        action,
    })
}

fn action(bound: &BoundRoute<'_>, scope: Scope<'_>, clusters: &mut Clusters<'_>) -> Option<Action> {
    let route: &HttpRoute = &bound.route;
    let namespace = bound.object.namespace.as_str();
    if let Some(redirect) = &route.redirect {
        return Some(Action::Redirect(Redirect::new(redirect)));
    }
    if let Some(direct) = &route.direct_response {
        let status = StatusCode::from_u16(direct.status).ok()?;
        return Some(Action::Direct {
            status,
            body: Bytes::from(direct.body.clone()),
        });
    }
    let destinations = destinations(bound, scope, clusters);
    if destinations.is_empty() {
        return None;
    }
    let mirrors = route.mirrors.iter().map(|mirror| {
        let cluster =
            clusters.destination(&mirror.destination, namespace, scope.visible, scope.client);
        (cluster, mirror.percentage)
    });
    Some(Action::Forward(Box::new(ForwardAction {
        mirrors: mirrors.collect(),
        destinations,
        rewrite: route
            .rewrite
            .as_ref()
            .map_or_else(Rewrite::default, Rewrite::new),
        timeout: route.timeout,
        retry: RetryPolicy::new(route.retries.as_ref()),
    })))
}

/// The destinations with a weight above 0. A single destination gets every request,
/// whatever its weight.
fn destinations(
    bound: &BoundRoute<'_>,
    scope: Scope<'_>,
    clusters: &mut Clusters<'_>,
) -> Vec<WeightedDestination> {
    let route = &bound.route.route;
    let namespace = bound.object.namespace.as_str();
    let only = route.len() == 1;
    let weight = |it: &RouteDestination| it.weight.as_ref().map_or(0, |weight| weight.value);
    let numbered = route.iter().enumerate();
    let counted = numbered.filter(|(_, it)| only || weight(it) > 0);
    let mut cluster = |number: usize, it: &RouteDestination| {
        if bound.refused.contains(&number) {
            return ClusterChoice::Missing(it.destination.host.value.clone());
        }
        clusters.destination(&it.destination, namespace, scope.visible, scope.client)
    };
    let destinations = counted.map(|(number, it)| WeightedDestination {
        at: Some(it.at.clone()),
        host: it.destination.host.value.clone(),
        subset: it
            .destination
            .subset
            .as_ref()
            .map(|subset| subset.value.clone()),
        weight: if only { 100 } else { weight(it) },
        cluster: cluster(number, it),
        request_headers: HeaderChanges::new(&it.headers.request),
        response_headers: HeaderChanges::new(&it.headers.response),
    });
    destinations.collect()
}

/// The blocks that apply at this gateway, and on its port if it has one. A block with gateways of its own applies there,
/// and its source conditions are ignored. A block without gateways applies everywhere; at
/// the edge only if it has no source conditions, because clients outside have no source.
pub(crate) fn blocks(
    matches: &[HttpMatch],
    namespace: &str,
    gateway: &str,
    port: Option<u16>,
) -> Vec<Block> {
    let on_port = matches
        .iter()
        .filter(|block| block.port.is_none() || port.is_none() || block.port == port);
    let applying = on_port.filter(|block| {
        if block.gateways.is_empty() {
            let asks_source = !block.source_labels.is_empty() || block.source_namespace.is_some();
            return gateway == "mesh" || !asks_source;
        }
        block
            .gateways
            .iter()
            .any(|name| gateway_name(name, namespace) == gateway)
    });
    applying.filter_map(|spec| block(spec, port)).collect()
}

/// `None` for a block that no request can match here. `port` is decided already.
fn block(spec: &HttpMatch, port: Option<u16>) -> Option<Block> {
    let mut conditions = Vec::new();
    let uri = spec
        .uri
        .as_ref()
        .and_then(|uri| UriMatch::new(uri, spec.ignore_uri_case));
    conditions.extend(uri.map(Condition::Uri));
    let asked = spec.port.filter(|_| port.is_none());
    conditions.extend(asked.map(Condition::Port));
    conditions.extend(spec.method.clone().map(Condition::Method));
    conditions.extend(spec.scheme.clone().map(Condition::Scheme));
    conditions.extend(spec.authority.clone().map(Condition::Authority));
    for (name, value) in &spec.headers {
        if is_ignored(name) {
            continue;
        }
        conditions.push(match ClaimKey::new(name) {
            Some(claim) => Condition::Claim(claim, value.clone()),
            None => Condition::Header(HeaderKey::new(name)?, value.clone()),
        });
    }
    for (name, value) in &spec.without_headers {
        if is_ignored(name) {
            continue;
        }
        conditions.push(match ClaimKey::new(name) {
            Some(claim) => Condition::WithoutClaim(claim, value.clone()),
            None => Condition::WithoutHeader(HeaderKey::new(name)?, value.clone()),
        });
    }
    for (name, value) in &spec.query_params {
        conditions.push(Condition::QueryParameter(name.clone(), value.clone()));
    }
    if spec.gateways.is_empty() {
        if !spec.source_labels.is_empty() {
            conditions.push(Condition::SourceLabels(spec.source_labels.clone()));
        }
        conditions.extend(
            spec.source_namespace
                .clone()
                .map(Condition::SourceNamespace),
        );
    }
    Some(Block {
        at: Some(spec.at.clone()),
        conditions,
    })
}

/// Header names that Istio ignores, because they have fields of their own.
fn is_ignored(name: &str) -> bool {
    matches!(name, "uri" | "scheme" | "method" | "authority")
}

/// A rule that forwards to one cluster, without any other settings.
pub(crate) fn plain_rule(
    blocks: Vec<Block>,
    host: &str,
    cluster: ClusterChoice,
    rewrite: Rewrite,
) -> Rule {
    Rule {
        name: "default".into(),
        object: None,
        index: 0,
        id: None,
        at: None,
        blocks,
        fault: None,
        cors: None,
        request_headers: HeaderChanges::default(),
        response_headers: HeaderChanges::default(),
        action: Action::Forward(Box::new(ForwardAction {
            destinations: vec![WeightedDestination {
                at: None,
                host: host.to_owned(),
                subset: None,
                weight: 100,
                cluster,
                request_headers: HeaderChanges::default(),
                response_headers: HeaderChanges::default(),
            }],
            rewrite,
            timeout: None,
            retry: RetryPolicy::new(None),
            mirrors: Vec::new(),
        })),
    }
}
