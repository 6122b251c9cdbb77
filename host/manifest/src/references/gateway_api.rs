//! The Gateway API: parents, listeners, certificates, backends and grants.
//!
//! What a route refers to and is not there gives 500 for its share of requests, so
//! it is a warning, as the Gateway API has it; a certificate that is not there
//! leaves a listener without TLS, and is an error.

use super::gateway::certificate;
use super::index::{Index, Target, names_in};
use super::report::Report;
use crate::codes;
use crate::model::{HostedRoute, ListenerSet, MatchedRule, Object, ParentKind, RouteParent};

pub(super) fn listeners(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    gateway: &ListenerSet,
) {
    for (at, listener) in gateway.listeners.iter().enumerate() {
        if let Some(reference) = &listener.certificate {
            let own = object.metadata.namespace.as_str();
            let namespace = reference.namespace.as_deref().unwrap_or(own);
            let path = format!("spec.listeners[{at}].tls.certificateRefs[0].name");
            certificate(index, report, object, (namespace, &reference.name), path);
        }
    }
}

pub(super) fn route(index: &Index<'_>, report: &mut Report, object: &Object, route: &HostedRoute) {
    for (at, parent) in route.parents.iter().enumerate() {
        check_parent(
            index,
            report,
            object,
            parent,
            &format!("spec.parentRefs[{at}]"),
        );
    }
    let mut last = None;
    for rule in &route.rules {
        // One for each of its matches: their backends are the same.
        if last.replace(rule.index) != Some(rule.index) {
            check_backends(index, report, object, rule);
        }
    }
}

fn check_parent(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    parent: &RouteParent,
    path: &str,
) {
    let own = object.metadata.namespace.as_str();
    let namespace = parent.namespace.as_deref().unwrap_or(own);
    let name = parent.name.as_str();
    let kind = match parent.kind {
        ParentKind::Gateway => "Gateway",
        ParentKind::Service => "Service",
    };
    if index.is_refused(kind, namespace, name) {
        return;
    }
    let mut warn = |field: &str, message: String| {
        let path = format!("{path}.{field}");
        report.warning(object, &parent.name.at, path, codes::NOT_FOUND, message);
    };
    match parent.kind {
        ParentKind::Service if index.services.contains_key(&(namespace, name)) => {}
        ParentKind::Service => {
            warn("name", format!("there is no Service {namespace}/{name}"));
        }
        ParentKind::Gateway => match index.listener_sets.get(&(namespace, name)) {
            Some((_, gateway)) => {
                let fits = gateway.listeners.iter().any(|listener| {
                    let section = parent.section.as_ref();
                    section.is_none_or(|section| *section == listener.name.value)
                        && parent.port.is_none_or(|port| port == listener.port.value)
                });
                if !fits {
                    let message = format!("the Gateway {namespace}/{name} has no such listener");
                    warn("sectionName", message);
                }
            }
            None => {
                let near = report.near_or(
                    name,
                    || names_in(&index.listener_sets, namespace),
                    "the route is attached to nothing",
                );
                let message = format!("there is no Gateway {namespace}/{name}{near}");
                let path = format!("{path}.name");
                report.warning(object, &parent.name.at, path, codes::NOT_FOUND, message);
            }
        },
    }
}

fn check_backends(index: &Index<'_>, report: &mut Report, object: &Object, rule: &MatchedRule) {
    let own = object.metadata.namespace.as_str();
    let routes = rule.route.route.iter().zip(&rule.backends).enumerate();
    for (at, (route, backend)) in routes.filter(|(_, (_, backend))| backend.is_service) {
        let path = format!("spec.rules[{}].backendRefs[{at}]", rule.index);
        let namespace = backend.namespace.as_deref().unwrap_or(own);
        let mut warn = |message: String| {
            report.warning(object, &backend.at, path.clone(), codes::NOT_FOUND, message);
        };
        let (host, name) = (&route.destination.host, &backend.name);
        match index.target(host, own) {
            Target::Missing => warn(format!(
                "there is no Service {namespace}/{name}; its requests get 500"
            )),
            Target::Service(_, service) => {
                let port = route.destination.port.as_ref().map(|port| port.value);
                if !service.ports.iter().any(|it| Some(it.port) == port) {
                    warn(format!(
                        "the Service {namespace}/{name} has no such port; its requests get 500"
                    ));
                }
            }
            Target::Entry(_) | Target::Refused => {}
        }
        let granted = index.grants.iter().any(|(grant, spec)| {
            grant.metadata.namespace == namespace && spec.allows_service(own, name)
        });
        if namespace != own && !granted {
            warn(format!(
                "no ReferenceGrant in {namespace} lets HTTPRoutes of {own} use the Service \
                 {name}; its requests get 500"
            ));
        }
    }
}
