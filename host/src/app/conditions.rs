//! The `status` of routing objects: the conditions of the Gateway API and of Istio that
//! tell tools whether an object is in effect.

use std::sync::Arc;

use galleria_manifest::model::{
    GatewayApiGateway, GatewayApiHttpRoute, Object, ObjectKey, ParentKind, Resource,
};
use galleria_manifest::{Diagnostic, codes};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::store::Store;

/// `controllerName` in `status.parents`.
const CONTROLLER: &str = "galleria.dev/gateway-controller";

/// A condition: its type, and its reason, with a message if it does not hold.
type Condition = (&'static str, Result<&'static str, (&'static str, String)>);

/// An object and its diagnostics.
pub(super) struct DiagnosedObject<'a> {
    pub object: &'a Object,
    /// Why it waits; empty if it is in force.
    pub waits: &'a [Diagnostic],
    /// Its other problems.
    pub warnings: Vec<&'a Diagnostic>,
}

/// Writes the conditions of every routing object among `all` to the store.
pub(super) fn report(store: &Store, all: &[DiagnosedObject<'_>]) {
    for diagnosed in all {
        let key = diagnosed.object.key();
        let Some(stored) = store.get(&key) else {
            continue;
        };
        let Some(mut status) = status(diagnosed, all) else {
            continue;
        };
        complete(&mut status, &stored.status, stored.generation);
        store.set_status(&key, status);
    }
}

/// The objects in force and those that wait, with the diagnostics of each.
pub(super) fn diagnose<'a>(
    in_force: &'a [Arc<Object>],
    waiting: &'a [(Arc<Object>, Vec<Diagnostic>)],
    warnings: &'a [Diagnostic],
) -> Vec<DiagnosedObject<'a>> {
    let in_force = in_force.iter().map(|object| (object, [].as_slice()));
    let waiting = waiting
        .iter()
        .map(|(object, problems)| (object, problems.as_slice()));
    let diagnosed = |(object, waits): (&'a Arc<Object>, &'a [Diagnostic])| DiagnosedObject {
        object,
        waits,
        warnings: warnings.iter().filter(|it| is_about(it, object)).collect(),
    };
    in_force.chain(waiting).map(diagnosed).collect()
}

fn is_about(diagnostic: &Diagnostic, object: &Object) -> bool {
    let named = diagnostic.object.as_ref().and_then(|it| it.split_once('/'));
    named == Some((object.kind.as_str(), object.metadata.name.value.as_str()))
        && diagnostic.at.file == object.at.file
}

fn status(diagnosed: &DiagnosedObject<'_>, all: &[DiagnosedObject<'_>]) -> Option<Value> {
    match &diagnosed.object.resource {
        Resource::GatewayApiGateway(gateway) => Some(of_gateway(diagnosed, gateway, all)),
        Resource::GatewayApiHttpRoute(route) => Some(of_route(diagnosed, route)),
        _ if diagnosed.object.key().group == "networking.istio.io" => {
            let unopened = diagnosed.warnings.iter().find(|it| is_about_opening(it));
            let dangling = diagnosed.warnings.iter().find(|it| it.is_dangling());
            let reconciled = match (diagnosed.waits.first(), unopened, dangling) {
                (None, None, None) => Ok("Reconciled"),
                (Some(problem), ..) => Err(("Waiting", text(problem))),
                (None, Some(problem), _) => Err(("ServerNotOpened", text(problem))),
                (None, None, Some(problem)) => Err(("Waiting", text(problem))),
            };
            Some(json!({"conditions": conditions(&[("Reconciled", reconciled)])}))
        }
        _ => None,
    }
}

fn of_gateway(
    diagnosed: &DiagnosedObject<'_>,
    gateway: &GatewayApiGateway,
    all: &[DiagnosedObject<'_>],
) -> Value {
    let unopened = |index: usize| {
        let place = format!("spec.listeners[{index}].");
        let mut diagnostics = diagnosed.warnings.iter().copied();
        diagnostics.find(|it| it.path.starts_with(&place) && is_about_opening(it))
    };
    let programmed = match diagnosed.waits.first() {
        None => Ok("Programmed"),
        Some(problem) => Err(("Invalid", text(problem))),
    };
    let accepted = match diagnosed.waits.is_empty() {
        true => Ok("Accepted"),
        false => Err((
            "ListenersNotValid",
            "see the condition Programmed".to_owned(),
        )),
    };
    let listeners = gateway.listeners.iter().enumerate();
    let listeners = listeners.map(|(index, listener)| {
        let unopened = unopened(index);
        let unresolved = unopened.filter(|it| it.path.contains("certificateRefs"));
        let resolved = match unresolved {
            None => Ok("ResolvedRefs"),
            Some(problem) => Err(("InvalidCertificateRef", text(problem))),
        };
        let programmed = match unopened {
            None => programmed.clone(),
            Some(problem) => Err(("Invalid", text(problem))),
        };
        let kinds = match listener.takes_http {
            true => json!([{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}]),
            false => json!([]),
        };
        json!({
            "name": listener.name.value,
            "attachedRoutes": attached(diagnosed, &listener.name.value, listener.port.value, all),
            "supportedKinds": kinds,
            "conditions": conditions(&[
                ("Accepted", accepted.clone()),
                ("Programmed", programmed),
                ("ResolvedRefs", resolved),
            ]),
        })
    });
    json!({
        "conditions": conditions(&[
            ("Accepted", accepted.clone()),
            ("Programmed", programmed.clone()),
        ]),
        "listeners": listeners.collect::<Vec<_>>(),
    })
}

/// Whether a server of a Gateway is not opened because of this problem.
fn is_about_opening(problem: &Diagnostic) -> bool {
    let codes = [
        codes::GATEWAY_CREDENTIAL,
        codes::TLS_NOT_SERVED,
        codes::CONFLICTING_GATEWAYS,
    ];
    let is_missing_secret = problem.code == codes::NOT_FOUND && problem.path.contains(".tls.");
    codes.contains(&problem.code) || is_missing_secret
}

/// The number of routes in force that are attached to this listener.
fn attached(
    gateway: &DiagnosedObject<'_>,
    listener: &str,
    port: u16,
    all: &[DiagnosedObject<'_>],
) -> usize {
    let own: &ObjectKey = &gateway.object.key();
    let names_it = |diagnosed: &&DiagnosedObject<'_>| {
        let Resource::GatewayApiHttpRoute(route) = &diagnosed.object.resource else {
            return false;
        };
        let namespace = &diagnosed.object.metadata.namespace;
        diagnosed.waits.is_empty()
            && route.parents.iter().any(|parent| {
                parent.kind == ParentKind::Gateway
                    && parent.name.value == own.name
                    && parent.namespace.as_ref().unwrap_or(namespace) == &own.namespace
                    && parent
                        .section
                        .as_deref()
                        .is_none_or(|section| section == listener)
                    && parent.port.is_none_or(|named| named == port)
            })
    };
    all.iter().filter(names_it).count()
}

fn of_route(diagnosed: &DiagnosedObject<'_>, route: &GatewayApiHttpRoute) -> Value {
    let wrong = |part: &str| {
        let mut diagnostics = diagnosed
            .waits
            .iter()
            .chain(diagnosed.warnings.iter().copied());
        diagnostics.find(|it| it.path.contains(part)).map(text)
    };
    let parents = route.parents.iter().enumerate().map(|(index, parent)| {
        let accepted = match wrong(&format!("parentRefs[{index}]")) {
            None => Ok("Accepted"),
            Some(message) => Err(("NoMatchingParent", message)),
        };
        let resolved = match wrong("backendRefs") {
            None => Ok("ResolvedRefs"),
            Some(message) => Err(("BackendNotFound", message)),
        };
        let (group, kind) = match parent.kind {
            ParentKind::Gateway => ("gateway.networking.k8s.io", "Gateway"),
            ParentKind::Service => ("", "Service"),
        };
        let mut reference = json!({"group": group, "kind": kind, "name": parent.name.value});
        if let Some(namespace) = &parent.namespace {
            reference["namespace"] = namespace.clone().into();
        }
        if let Some(section) = &parent.section {
            reference["sectionName"] = section.clone().into();
        }
        if let Some(port) = parent.port {
            reference["port"] = port.into();
        }
        json!({
            "parentRef": reference,
            "controllerName": CONTROLLER,
            "conditions": conditions(&[("Accepted", accepted), ("ResolvedRefs", resolved)]),
        })
    });
    json!({"parents": parents.collect::<Vec<_>>()})
}

fn text(problem: &Diagnostic) -> String {
    format!("{}: {}", problem.path, problem.message)
}

fn conditions(all: &[Condition]) -> Value {
    let condition = |(name, holds): &Condition| {
        let (status, reason, message) = match holds {
            Ok(reason) => ("True", *reason, ""),
            Err((reason, message)) => ("False", *reason, message.as_str()),
        };
        json!({"type": name, "status": status, "reason": reason, "message": message})
    };
    all.iter().map(condition).collect()
}

/// Adds `observedGeneration` and `lastTransitionTime` to every condition of `status`.
/// The time is that of `before` where the condition has not changed.
fn complete(status: &mut Value, before: &Value, generation: u64) {
    match status {
        Value::Object(fields) if fields.contains_key("reason") => {
            let same = before["status"] == fields["status"];
            let since = match &before["lastTransitionTime"] {
                Value::String(since) if same => since.clone(),
                _ => format!("{:.0}", Timestamp::now()),
            };
            fields.insert("lastTransitionTime".to_owned(), since.into());
            fields.insert("observedGeneration".to_owned(), generation.into());
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                complete(value, &before[name.as_str()], generation);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                complete(item, &before[index], generation);
            }
        }
        _ => {}
    }
}
