//! What each workload accepts, and the gateway: the policies that select it, merged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use galleria_manifest::Diagnostic;

use super::authentication::Authentication;
use super::authorization::{Authorization, GatewayName};
use super::extension_providers::ExtensionProviders;
use super::gateway_api::BoundListener;
use super::inventory::Inventory;
use super::rate_limits::RateLimitCompiler;
use super::registry::Registry;
use super::trust_domains;
use crate::decide::host::HostTable;
use crate::inbound::network::index::NetworkPolicyIndex;
use crate::inbound::policies::{GatewayPolicies, InboundPolicies};
use crate::{Options, Pod, State, Workload};

/// Compiles the policies of each workload.
pub(crate) struct PolicyCompiler<'a> {
    inventory: &'a Inventory<'a>,
    network: &'a NetworkPolicyIndex,
    authentication: Authentication<'a>,
    authorization: Authorization<'a>,
    rate_limits: RateLimitCompiler<'a>,
    trust_domain: &'a Arc<str>,
}

impl<'a> PolicyCompiler<'a> {
    pub(crate) fn new(
        inventory: &'a Inventory<'a>,
        options: &'a Options,
        network: &'a NetworkPolicyIndex,
        (registry, state): (&'a Registry, &'a State),
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let providers = ExtensionProviders::new(inventory, registry);
        let compiler = Self {
            inventory,
            network,
            authentication: Authentication::new(inventory, options, diagnostics),
            authorization: Authorization::new(inventory, options, providers),
            rate_limits: RateLimitCompiler {
                inventory,
                registry,
                options,
                state,
            },
            trust_domain: &options.trust_domain,
        };
        trust_domains::find_others(inventory, options, diagnostics);
        compiler.find_problems(diagnostics);
        compiler.rate_limits.find_problems(diagnostics);
        compiler
    }

    /// The policies of the pod's workload; `None` if none selects it.
    pub(crate) fn of(&self, pod: &Pod) -> Option<Arc<InboundPolicies>> {
        some(InboundPolicies {
            network: self.network.of(&pod.workload),
            peer: self.authentication.peers(pod),
            tokens: self.authentication.tokens(pod),
            authorization: self.authorization.of(&pod.workload),
            rate_limits: self.rate_limits.of(&pod.workload),
        })
    }

    /// The policies of the gateway, for the hosts of its Gateways.
    pub(crate) fn of_gateway(&self, listeners: &[BoundListener<'_>]) -> GatewayPolicies {
        let workload = Arc::new(Workload::gateway().in_trust_domain(self.trust_domain));
        let of = |gateways: &[GatewayName<'_>]| {
            some(InboundPolicies {
                tokens: self.authentication.of_gateway(&workload, gateways),
                authorization: self.authorization.of_gateway(&workload, gateways),
                ..InboundPolicies::default()
            })
        };
        let mut by_host = HashMap::new();
        let is_targeted = self.authorization.has_targeted_gateways()
            || self.authentication.has_targeted_gateways();
        if is_targeted {
            for ((port, host), gateways) in self.served(listeners) {
                let gateways: Vec<_> = gateways.into_iter().collect();
                let table: &mut HostTable<_> = by_host.entry(port).or_default();
                table.entry(&host).or_insert_with(|| of(&gateways));
            }
        }
        GatewayPolicies {
            all: of(&[]),
            by_host,
            rate_limits: self.rate_limits.of_gateway(&workload),
            workload,
        }
    }

    /// The Gateways of the Gateway API that serve each host on each port. Other Gateways
    /// serve their hosts without a name here.
    fn served<'b>(
        &'b self,
        listeners: &'b [BoundListener<'_>],
    ) -> BTreeMap<(u16, String), BTreeSet<GatewayName<'b>>> {
        let mut served: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for listener in listeners {
            let (port, host) = listener.address();
            let gateways = served.entry((port, host.to_owned())).or_default();
            gateways.insert(listener.gateway_name());
        }
        for source in &self.inventory.gateways {
            for server in &source.spec.servers {
                for host in &server.hosts {
                    let host = host.rsplit_once('/').map_or(host.as_str(), |it| it.1);
                    let host = host.to_ascii_lowercase();
                    served.entry((server.port.value, host)).or_default();
                }
            }
        }
        served
    }

    /// Problems that only the combination of objects shows.
    fn find_problems(&self, diagnostics: &mut Vec<Diagnostic>) {
        let declared = self.inventory.workloads.iter().map(|(object, template)| {
            Workload::new(
                &*object.metadata.namespace,
                object.metadata.name.as_str(),
                template.spec.service_account_name.as_str(),
                template.labels.clone(),
            )
        });
        let declared: Vec<Workload> = declared.collect();
        let workloads: Vec<&Workload> = declared.iter().collect();
        let gateway = Workload::gateway();
        self.authorization
            .problems(&workloads, &gateway, diagnostics);
    }
}

fn some(policies: InboundPolicies) -> Option<Arc<InboundPolicies>> {
    (!policies.is_empty()).then(|| Arc::new(policies))
}
