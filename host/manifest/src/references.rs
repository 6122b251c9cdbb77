//! References between objects: whether the target exists and fits.
//!
//! There is one file for each kind that refers to others. A broken reference is an error if
//! pods would not start because of it. It is a warning if it has no effect, or if only
//! requests that need the missing object fail, as in a cluster, where objects come in any order
//! ([`Diagnostic::is_dangling`]).

mod authentication;
mod autoscaler;
mod canary;
mod client_tls;
mod config;
mod destination_rule;
mod disruption_budget;
mod gateway;
mod gateway_api;
mod gateway_servers;
mod hosts;
mod index;
mod ingress;
mod network_policy;
mod pod_security;
mod report;
mod service;
mod service_entry;
mod sidecar;
mod virtual_service;
mod virtual_service_hosts;
mod visibility;
mod workload;

use std::collections::HashSet;
use std::sync::Arc;

use index::Index;
use report::Report;

use crate::Diagnostic;
use crate::model::{Object, ObjectKey, Resource};

pub use canary::deployments_behind;

/// Checks all references between `objects`. The result is sorted by position. The Secrets of
/// Istio's Gateways are in `gateway_namespace`, by default in the namespace of each Gateway.
pub fn check_references(
    objects: &[Arc<Object>],
    gateway_namespace: Option<&str>,
) -> Vec<Diagnostic> {
    let mut diagnostics = check(objects, &HashSet::new(), gateway_namespace);
    diagnostics.sort();
    diagnostics
}

/// As [`check_references`], but references to a `refused` object are not reported, since it
/// will exist once its own error is fixed.
pub(crate) fn check(
    objects: &[Arc<Object>],
    refused: &HashSet<ObjectKey>,
    gateway_namespace: Option<&str>,
) -> Vec<Diagnostic> {
    let index = Index::new(objects, refused, gateway_namespace);
    let mut report = Report::default();
    for object in objects {
        if let Some((template, place)) = object.serving() {
            workload::check(&index, &mut report, object, template, place);
        }
        match &object.resource {
            Resource::VirtualService(service) => {
                virtual_service::check(&index, &mut report, object, service);
            }
            Resource::DestinationRule(rule) => {
                destination_rule::check(&index, &mut report, object, rule);
                client_tls::check(&mut report, object, rule);
            }
            Resource::Gateway(gateway) => {
                gateway::check(&index, &mut report, object, gateway);
                gateway_servers::ports_behind_services(&index, &mut report, object, gateway);
            }
            Resource::GatewayApiGateway(gateway) => {
                gateway_api::listeners(&index, &mut report, object, gateway);
            }
            Resource::GatewayApiHttpRoute(route) => {
                gateway_api::route(&index, &mut report, object, route);
            }
            Resource::HorizontalPodAutoscaler(spec) => {
                autoscaler::check(&index, &mut report, object, spec);
            }
            Resource::Canary(spec) => canary::check(&index, &mut report, object, spec),
            Resource::PodDisruptionBudget(budget) => {
                disruption_budget::check(&index, &mut report, object, budget);
            }
            Resource::Service(service) => service::check(&index, &mut report, object, service),
            Resource::Sidecar(spec) => sidecar::check(&index, &mut report, object, spec),
            Resource::Ingress(ingress) => ingress::check(&index, &mut report, object, ingress),
            Resource::Job(job) => {
                workload::check(
                    &index,
                    &mut report,
                    object,
                    &job.template,
                    "spec.template.spec",
                );
            }
            Resource::RequestAuthentication(policy) => {
                authentication::scope(&index, &mut report, object, &policy.scope);
            }
            Resource::PeerAuthentication(policy) => {
                authentication::selector(&index, &mut report, object, &policy.selector);
            }
            Resource::LegacyAuthentication(policy) => {
                authentication::legacy(&index, &mut report, object, policy);
            }
            Resource::CronJob(cron_job) => {
                let place = "spec.jobTemplate.spec.template.spec";
                workload::check(&index, &mut report, object, &cron_job.job.template, place);
            }
            _ => {}
        }
    }
    network_policy::check(objects, &index, &mut report);
    pod_security::check(objects, &mut report);
    gateway_servers::conflicts(&index, &mut report);
    gateway_servers::shared_certificates(&index, &mut report);
    service_entry::conflicts(&index, &mut report);
    virtual_service_hosts::check(&index, &mut report);
    namespaces(objects, &index, &mut report);
    report.finish()
}

/// Reports, once each, namespaces that are in use and not declared.
fn namespaces(objects: &[Arc<Object>], index: &Index<'_>, report: &mut Report) {
    let mut seen = HashSet::new();
    for object in objects {
        let namespace = object.metadata.namespace.as_str();
        let built_in =
            matches!(namespace, "" | "default" | "istio-system") || namespace.starts_with("kube-");
        if built_in || index.has_namespace(namespace) || !seen.insert(namespace) {
            continue;
        }
        let near = report.near(namespace, || index.namespaces());
        let message = format!("the namespace `{namespace}` is not declared{near}");
        let code = crate::codes::NAMESPACE;
        report.note(
            object,
            &object.at,
            "metadata.namespace".to_owned(),
            code,
            message,
        );
    }
}
