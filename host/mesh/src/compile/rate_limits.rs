//! The rate limits of EnvoyFilters, for the workloads and the gateway that they select.

use std::sync::Arc;

use galleria_manifest::model::{EnvoyFilter, PatchContext, RateLimitChange, RateLimitedRoute};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::extension_providers::service_authority;
use super::inventory::{Inventory, Source};
use super::policy_scope::has_labels;
use super::registry::Registry;
use crate::rate_limit::{GlobalLimit, RateLimits, RouteLimit, VirtualHostMatch};
use crate::{Options, State, Workload};

/// Compiles the limits of each workload.
pub(crate) struct RateLimitCompiler<'a> {
    pub(crate) inventory: &'a Inventory<'a>,
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a Options,
    pub(crate) state: &'a State,
}

impl RateLimitCompiler<'_> {
    pub(crate) fn of(&self, workload: &Workload) -> RateLimits {
        let scope = format!("{}/{}", workload.namespace, workload.name);
        self.compile(workload, &scope, PatchContext::SidecarInbound)
    }

    pub(crate) fn of_gateway(&self, gateway: &Workload) -> RateLimits {
        self.compile(gateway, "gateway", PatchContext::Gateway)
    }

    fn compile(&self, workload: &Workload, scope: &str, context: PatchContext) -> RateLimits {
        let mut limits = RateLimits::default();
        for source in &self.inventory.envoy_filters {
            if !self.selects(source, workload) {
                continue;
            }
            for (number, patch) in source.spec.patches.iter().enumerate() {
                if patch.context != PatchContext::Any && patch.context != context {
                    continue;
                }
                let scope = format!("{scope} {}/{} {number}", source.namespace(), source.name());
                let limit = |config| self.state.limits().get(&scope, config);
                match &patch.change {
                    RateLimitChange::Filter {
                        port,
                        limit: config,
                    } => {
                        limits.filters.push((*port, limit(config)));
                    }
                    RateLimitChange::GlobalFilter {
                        port,
                        limit: config,
                    } => {
                        let service = service_authority(self.registry, &config.host, config.port);
                        let limit = GlobalLimit::new(config, service.ok());
                        limits.global.push((*port, limit));
                    }
                    RateLimitChange::Route(route) => limits.routes.push(RouteLimit {
                        virtual_host: self.virtual_host(route, workload, context),
                        route: route.route.clone(),
                        limit: route.limit.as_ref().map(limit),
                        descriptors: route.descriptors.clone(),
                    }),
                }
            }
        }
        limits
    }

    /// Reports services that nothing declares.
    pub(crate) fn find_problems(&self, diagnostics: &mut Vec<Diagnostic>) {
        for source in &self.inventory.envoy_filters {
            for (number, patch) in source.spec.patches.iter().enumerate() {
                let RateLimitChange::GlobalFilter { limit, .. } = &patch.change else {
                    continue;
                };
                let service = service_authority(self.registry, &limit.host, limit.port);
                let Err(reason) = service else { continue };
                let effect = match limit.failure_mode_deny {
                    true => "requests are refused",
                    false => "no request is limited",
                };
                diagnostics.push(Diagnostic {
                    at: patch.at.clone(),
                    severity: Severity::Warning,
                    object: Some(format!("EnvoyFilter/{}", source.name())),
                    path: format!("spec.configPatches[{number}].patch.value.typed_config"),
                    message: format!(
                        "the service of rate limits cannot be called: {reason}; {effect}"
                    ),
                    code: codes::NOT_FOUND,
                    unenforced: None,
                });
            }
        }
    }

    fn selects(&self, source: &Source<'_, EnvoyFilter>, workload: &Workload) -> bool {
        let home = source.namespace();
        let reaches = home == workload.namespace || home == self.options.root_namespace;
        reaches && has_labels(workload, &source.spec.workload_selector)
    }

    fn virtual_host(
        &self,
        route: &RateLimitedRoute,
        workload: &Workload,
        context: PatchContext,
    ) -> VirtualHostMatch {
        let Some(name) = &route.virtual_host else {
            return VirtualHostMatch::Any;
        };
        let number = |text: &str| text.parse::<u16>().ok();
        if context == PatchContext::Gateway {
            let parts = name.rsplit_once(':');
            let parts = parts.and_then(|(host, port)| Some((host, number(port)?)));
            return parts.map_or(VirtualHostMatch::Nothing, |(host, port)| {
                VirtualHostMatch::Host(host.to_ascii_lowercase(), port)
            });
        }
        let port = name.strip_prefix("inbound|http|").and_then(number);
        port.map_or(VirtualHostMatch::Nothing, |port| {
            VirtualHostMatch::Ports(self.pod_ports(workload, port))
        })
    }

    /// The ports of the workload's pods behind the port `number` of its Services; the port
    /// itself if there is none.
    fn pod_ports(&self, workload: &Workload, number: u16) -> Vec<u16> {
        let services = self.registry.services.iter();
        let ports = services.flat_map(|service| &service.ports);
        let endpoints = ports
            .filter(|port| port.number == number)
            .flat_map(|port| &port.endpoints);
        let own = endpoints.filter(|endpoint| {
            let of = endpoint.workload.as_ref().map(Arc::as_ref);
            of.is_some_and(|of| of.namespace == workload.namespace && of.name == workload.name)
        });
        let mut ports: Vec<u16> = own.filter_map(|endpoint| endpoint.pod_port).collect();
        ports.sort_unstable();
        ports.dedup();
        match ports.is_empty() {
            true => vec![number],
            false => ports,
        }
    }
}
