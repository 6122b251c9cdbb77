//! Who a caller of a workload is: tokens by RequestAuthentication, and mutual TLS by
//! PeerAuthentication. The policies of Istio 1.2 ([`legacy`]) count where no policy of the
//! current API selects the workload.

mod legacy;

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{JwtKeys, MutualTlsMode, PeerAuthentication};
use galleria_manifest::{Diagnostic, Severity, codes};

use self::legacy::LegacyPolicies;
use super::authorization::GatewayName;
use super::inventory::{Inventory, Source};
use super::policy_scope::{has_labels, selects, targets_gateway};
use crate::inbound::jwt::{KeySet, PolicyByPort, TokenRule, TokenRules};
use crate::inbound::peer::{PeerMode, PeerPolicies};
use crate::{Options, Pod, Workload};

/// All policies of authentication.
pub(crate) struct Authentication<'a> {
    inventory: &'a Inventory<'a>,
    options: &'a Options,
    /// Of each RequestAuthentication, in the order of the inventory.
    rules: Vec<Vec<Arc<TokenRule>>>,
    legacy: LegacyPolicies<'a>,
}

impl<'a> Authentication<'a> {
    pub(crate) fn new(
        inventory: &'a Inventory<'a>,
        options: &'a Options,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Self {
        let sources = inventory.request_authentications.iter();
        let rules = sources.map(|source| {
            let rules = source.spec.jwt_rules.iter();
            let rules = rules.map(|rule| Arc::new(TokenRule::new(rule)));
            rules.collect()
        });
        let authentication = Self {
            inventory,
            options,
            rules: rules.collect(),
            legacy: LegacyPolicies::new(inventory),
        };
        authentication.find_unusable_keys(diagnostics);
        authentication.legacy.find_replaced(options, diagnostics);
        authentication
    }

    /// The tokens that requests to the pod's workload can have.
    pub(crate) fn tokens(&self, pod: &Pod) -> TokenRules {
        let sources = self.inventory.request_authentications.iter();
        let selecting = sources.zip(&self.rules).filter(|(source, _)| {
            let (scope, namespace) = (&source.spec.scope, source.namespace());
            selects(
                scope,
                namespace,
                &pod.workload,
                self.inventory,
                &self.options.root_namespace,
            )
        });
        let mut selecting: Vec<_> = selecting.collect();
        // Of several rules for one issuer the first counts: policies of the workload's own
        // namespace come before those of the mesh, as in Istio.
        selecting.sort_by_key(|(source, _)| source.namespace() == self.options.root_namespace);
        let legacy = match selecting.is_empty() {
            true => self.legacy.tokens(pod),
            false => PolicyByPort::default(),
        };
        let rules = selecting
            .into_iter()
            .flat_map(|(_, own)| own.iter().cloned());
        TokenRules::new(rules.collect(), legacy)
    }

    /// The tokens that requests to a gateway that serves these Gateways can have; `workload`
    /// is the gateway itself. Policies of Istio 1.2 are for Services.
    pub(crate) fn of_gateway(
        &self,
        workload: &Workload,
        gateways: &[GatewayName<'_>],
    ) -> TokenRules {
        let root = self.options.root_namespace.as_str();
        let sources = self.inventory.request_authentications.iter();
        let selecting = sources.zip(&self.rules).filter(|(source, _)| {
            let (scope, home) = (&source.spec.scope, source.namespace());
            selects(scope, home, workload, self.inventory, root)
                || gateways
                    .iter()
                    .any(|gateway| targets_gateway(scope, home, *gateway, root))
        });
        let rules = selecting.flat_map(|(_, own)| own.iter().cloned());
        TokenRules::new(rules.collect(), PolicyByPort::default())
    }

    /// Whether any policy of tokens names a Gateway of the Gateway API.
    pub(crate) fn has_targeted_gateways(&self) -> bool {
        let root = self.options.root_namespace.as_str();
        let mut gateways = self.inventory.gateway_api_gateways.iter();
        gateways.any(|gateway| {
            let name = (gateway.namespace(), gateway.name());
            let mut sources = self.inventory.request_authentications.iter();
            sources.any(|it| targets_gateway(&it.spec.scope, it.namespace(), name, root))
        })
    }

    /// Which callers of the pod's workload must prove who they are.
    pub(crate) fn peers(&self, pod: &Pod) -> PeerPolicies {
        self.modern_peers(&pod.workload)
            .unwrap_or_else(|| self.legacy.peers(pod))
    }

    /// The most specific policy with a mode counts, and the oldest of those; `None` if no
    /// policy selects the workload.
    fn modern_peers(&self, workload: &Workload) -> Option<PeerPolicies> {
        let root = &self.options.root_namespace;
        let find = |selects: &dyn Fn(&Source<'_, PeerAuthentication>) -> bool| {
            let mut sources = self.inventory.peer_authentications.iter();
            sources.find(|source| selects(source))
        };
        let is_wide = |source: &Source<'_, PeerAuthentication>| source.spec.selector.is_empty();
        let mesh = find(&|it| is_wide(it) && it.namespace() == root);
        let namespace = find(&|it| {
            is_wide(it) && it.namespace() != root && it.namespace() == workload.namespace
        });
        let own = find(&|it| {
            !is_wide(it)
                && it.namespace() != root
                && it.namespace() == workload.namespace
                && has_labels(workload, &it.spec.selector)
        });
        mesh.or(namespace).or(own)?;
        let mut default = None;
        for source in [mesh, namespace, own].into_iter().flatten() {
            default = peer_mode(source, source.spec.mode).or(default);
        }
        let ports = own.map_or_else(HashMap::new, |source| {
            let modes = source.spec.port_modes.iter();
            modes
                .map(|(port, mode)| (*port, peer_mode(source, *mode).or_else(|| default.clone())))
                .collect()
        });
        Some(PeerPolicies::new(default, ports))
    }

    /// Reports inline key sets with which no token can be verified.
    fn find_unusable_keys(&self, diagnostics: &mut Vec<Diagnostic>) {
        for source in &self.inventory.request_authentications {
            for (number, rule) in source.spec.jwt_rules.iter().enumerate() {
                let JwtKeys::Inline(text) = &rule.keys else {
                    continue;
                };
                if KeySet::parse(text.as_bytes()).is_ok() {
                    continue;
                }
                diagnostics.push(Diagnostic {
                    at: rule.at.clone(),
                    severity: Severity::Warning,
                    object: Some(format!("RequestAuthentication/{}", source.name())),
                    path: format!("spec.jwtRules[{number}].jwks"),
                    message: "none of its keys can be used, so every token of this issuer is \
                              refused; it needs an RSA key of 2048 bits or more, an EC key on \
                              P-256 or P-384, or an Ed25519 key, at most 64 in all"
                        .to_owned(),
                    code: codes::KEY_SET,
                    unenforced: None,
                });
            }
        }
    }
}

fn peer_mode<T>(source: &Source<'_, T>, mode: Option<MutualTlsMode>) -> Option<PeerMode> {
    let policy = match source.namespace() {
        "" => source.name().into(),
        namespace => format!("{namespace}/{}", source.name()).into(),
    };
    mode.map(|mode| PeerMode { mode, policy })
}
