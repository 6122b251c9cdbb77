//! The policies of Istio 1.2: of Services, of a namespace, of the mesh. The most specific one
//! replaces the wider ones, so one without `peers` demands nothing.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{
    LegacyAuthentication, LegacyTarget, PortReference, Service, ServicePort,
};
use galleria_manifest::{Diagnostic, Severity, codes};

use super::peer_mode;
use crate::compile::inventory::{Inventory, Source};
use crate::compile::policy_scope::selects_pods_of;
use crate::inbound::jwt::{LegacyTokens, PolicyByPort};
use crate::inbound::peer::PeerPolicies;
use crate::{Options, Pod};

type LegacySource<'a> = Source<'a, LegacyAuthentication>;

pub(super) struct LegacyPolicies<'a> {
    inventory: &'a Inventory<'a>,
    /// The tokens of each policy, in the order of the inventory.
    tokens: Vec<Option<Arc<LegacyTokens>>>,
}

impl<'a> LegacyPolicies<'a> {
    pub(super) fn new(inventory: &'a Inventory<'a>) -> Self {
        let sources = inventory.legacy_authentications.iter();
        let tokens = sources.map(|source| LegacyTokens::new(source.spec).map(Arc::new));
        Self {
            inventory,
            tokens: tokens.collect(),
        }
    }

    pub(super) fn tokens(&self, pod: &Pod) -> PolicyByPort<LegacyTokens> {
        let tokens = |number: usize| self.tokens.get(number).cloned().flatten();
        let ports = self.by_port(pod).into_iter();
        PolicyByPort {
            default: self.wide(pod).and_then(tokens),
            ports: ports.map(|(port, number)| (port, tokens(number))).collect(),
        }
    }

    pub(super) fn peers(&self, pod: &Pod) -> PeerPolicies {
        let mode = |number: usize| {
            let source = self.inventory.legacy_authentications.get(number)?;
            peer_mode(source, source.spec.peer_mode)
        };
        let ports = self.by_port(pod).into_iter();
        let ports = ports.map(|(port, number)| (port, mode(number)));
        PeerPolicies::new(self.wide(pod).and_then(mode), ports.collect())
    }

    /// The policy of the namespace, or else of the mesh.
    fn wide(&self, pod: &Pod) -> Option<usize> {
        let of = |namespace: &str| {
            let mut sources = self.inventory.legacy_authentications.iter();
            sources.position(|it| it.namespace() == namespace && it.spec.targets.is_empty())
        };
        of(&pod.workload.namespace).or_else(|| of(""))
    }

    /// The policies of the Services that select the pod, by the pod's own port. The oldest
    /// policy for a port counts.
    fn by_port(&self, pod: &Pod) -> HashMap<u16, usize> {
        let mut ports = HashMap::new();
        for (number, source) in self.inventory.legacy_authentications.iter().enumerate() {
            if source.namespace() != pod.workload.namespace {
                continue;
            }
            for target in &source.spec.targets {
                for service in self.services(source, target) {
                    if !selects_pods_of(&service.selector, &pod.workload) {
                        continue;
                    }
                    let targeted = service.ports.iter().filter(|port| is_for(target, port));
                    for port in targeted.filter_map(|port| own_port(pod, port)) {
                        ports.entry(port).or_insert(number);
                    }
                }
            }
        }
        ports
    }

    fn services(
        &self,
        source: &LegacySource<'_>,
        target: &LegacyTarget,
    ) -> impl Iterator<Item = &'a Service> {
        let namespace = source.namespace().to_owned();
        let name = target.name.value.clone();
        let services = self.inventory.services.iter();
        services
            .filter(move |it| it.namespace() == namespace && it.name() == name)
            .map(|service| service.spec)
    }

    /// Reports policies that a policy of the current API replaces.
    pub(super) fn find_replaced(&self, options: &Options, diagnostics: &mut Vec<Diagnostic>) {
        let peers = self.inventory.peer_authentications.iter();
        let peers = peers.map(|it| (it.namespace(), it.name(), "PeerAuthentication"));
        let tokens = self.inventory.request_authentications.iter();
        let tokens = tokens.map(|it| (it.namespace(), it.name(), "RequestAuthentication"));
        let modern: Vec<_> = peers.chain(tokens).collect();
        for source in &self.inventory.legacy_authentications {
            let spec = source.spec;
            let replaces = |(namespace, _, kind): &&(&str, &str, &str)| {
                let overlaps = *namespace == options.root_namespace
                    || source.namespace().is_empty()
                    || *namespace == source.namespace();
                let concerns = match *kind {
                    "PeerAuthentication" => true,
                    _ => !spec.origins.is_empty(),
                };
                overlaps && concerns
            };
            let Some((namespace, name, kind)) = modern.iter().find(replaces) else {
                continue;
            };
            diagnostics.push(Diagnostic {
                at: source.object.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("{}/{}", source.object.kind, source.name())),
                path: String::new(),
                message: format!(
                    "has no effect on the workloads that {kind} {namespace}/{name} selects; \
                     remove one of them"
                ),
                code: codes::LEGACY_POLICY_REPLACED,
                unenforced: None,
            });
        }
    }
}

fn is_for(target: &LegacyTarget, port: &ServicePort) -> bool {
    let is_it = |reference: &PortReference| match reference {
        PortReference::Number(number) => *number == port.port,
        PortReference::Name(name) => port.name.as_deref() == Some(name),
    };
    target.ports.is_empty() || target.ports.iter().any(is_it)
}

/// The pod's port behind a port of a Service.
fn own_port(pod: &Pod, port: &ServicePort) -> Option<u16> {
    match &port.target_port {
        PortReference::Number(number) => Some(*number),
        PortReference::Name(name) => {
            let mut ports = pod.ports.iter();
            let named = ports.find(|it| it.name.as_deref() == Some(name));
            named.map(|it| it.container_port)
        }
    }
}
