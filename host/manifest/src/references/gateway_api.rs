//! The Gateway API: parents, listeners, certificates, backends and grants.
//!
//! As in the Gateway API, a missing backend is a warning, and its share of requests gets 500.
//! A listener without its certificate is not opened, which is a warning too.

use super::gateway::server_tls;
use super::index::{Index, Target, names_in};
use super::report::Report;
use crate::codes;
use crate::model::{
    Backend, Destination, GatewayApiGateway, GatewayApiHttpRoute, MatchedRule, Object, ParentKind,
    RouteParent,
};

pub(super) fn listeners(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    gateway: &GatewayApiGateway,
) {
    let own = object.metadata.namespace.as_str();
    for (at, listener) in gateway.listeners.iter().enumerate() {
        let place = format!("spec.listeners[{at}].tls");
        for (number, reference) in listener.certificates.iter().enumerate() {
            let namespace = reference.namespace.as_deref().unwrap_or(own);
            let name = &reference.name;
            let granted = index.grants.iter().any(|(grant, spec)| {
                grant.metadata.namespace == namespace && spec.allows_certificate(own, name)
            });
            if namespace != own && !granted {
                let path = format!("{place}.certificateRefs[{number}].name");
                let message = format!(
                    "no ReferenceGrant in {namespace} lets Gateways of {own} use the Secret {name}, so the listener is not opened"
                );
                let code = codes::GATEWAY_CREDENTIAL;
                report.warning(object, &name.at, path, code, message);
            }
        }
        server_tls(index, report, object, &listener.server_tls(), own, &place);
    }
}

pub(super) fn route(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    route: &GatewayApiHttpRoute,
) {
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
        // There is one rule for each match, with the same backends.
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
        ParentKind::Gateway => match index.gateway_api_gateways.get(&(namespace, name)) {
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
                    || names_in(&index.gateway_api_gateways, namespace),
                    "the route is not attached to anything",
                );
                let message = format!("there is no Gateway {namespace}/{name}{near}");
                let path = format!("{path}.name");
                report.warning(object, &parent.name.at, path, codes::NOT_FOUND, message);
            }
        },
    }
}

fn check_backends(index: &Index<'_>, report: &mut Report, object: &Object, rule: &MatchedRule) {
    let of_rule = format!("spec.rules[{}]", rule.index);
    let destinations = rule.route.route.iter().map(|route| &route.destination);
    for (at, (destination, backend)) in destinations.zip(&rule.backends).enumerate() {
        let path = format!("{of_rule}.backendRefs[{at}]");
        let referred = (destination, backend, "its requests get 500");
        check_backend(index, report, object, referred, &path);
    }
    let mirrors = rule.route.mirrors.iter().map(|mirror| &mirror.destination);
    for (destination, backend) in mirrors.zip(&rule.mirrors) {
        let path = format!("{of_rule}.filters");
        let referred = (destination, backend, "nothing is mirrored to it");
        check_backend(index, report, object, referred, &path);
    }
}

/// `consequence` is what happens to requests if the backend cannot be used.
fn check_backend(
    index: &Index<'_>,
    report: &mut Report,
    object: &Object,
    (destination, backend, consequence): (&Destination, &Backend, &str),
    path: &str,
) {
    if !backend.is_service {
        return;
    }
    let own = object.metadata.namespace.as_str();
    let namespace = backend.namespace.as_deref().unwrap_or(own);
    let name = &backend.name;
    let mut warn = |message: String| {
        let message = format!("{message}; {consequence}");
        report.warning(
            object,
            &backend.at,
            path.to_owned(),
            codes::NOT_FOUND,
            message,
        );
    };
    match index.target(&destination.host, own) {
        Target::Missing => warn(format!("there is no Service {namespace}/{name}")),
        Target::Service(_, service) => {
            let port = destination.port.as_ref().map(|port| port.value);
            if !service.ports.iter().any(|it| Some(it.port) == port) {
                warn(format!("the Service {namespace}/{name} has no such port"));
            }
        }
        Target::Entry(_) | Target::Refused => {}
    }
    let granted = index.grants.iter().any(|(grant, spec)| {
        grant.metadata.namespace == namespace && spec.allows_service(own, name)
    });
    if namespace != own && !granted {
        warn(format!(
            "no ReferenceGrant in {namespace} lets HTTPRoutes of {own} use the Service {name}"
        ));
    }
}
