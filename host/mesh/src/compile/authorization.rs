//! Which authorization policies select a workload or a gateway, as rules.
//!
//! A policy of the root namespace can select every workload, other policies those of their
//! namespace. Roles of Istio until 1.5 ([`legacy`]) apply where no policy of today does.

mod legacy;
mod problems;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use galleria_manifest::Diagnostic;
use galleria_manifest::model::{AttributeMatch, AuthorizationAction, AuthorizationPolicy};

use self::legacy::LegacyRoles;
use super::extension_providers::ExtensionProviders;
use super::inventory::{Inventory, Source};
use super::policy_scope::{selects, targets_gateway};
use super::trust_domains::TrustDomains;
use crate::inbound::authorization::condition::Condition;
use crate::inbound::authorization::rule::Rule;
use crate::inbound::authorization::rule_set::RuleSet;
use crate::inbound::authorization::{Actions, AuthorizationPolicies};
use crate::inbound::external::ExtAuthzProvider;
use crate::{Options, Workload};

/// A policy of which rules are evaluated and never enforced.
const DRY_RUN: &str = "istio.io/dry-run";

/// All authorization policies.
pub(crate) struct Authorization<'a> {
    policies: Vec<Policy<'a>>,
    legacy: LegacyRoles<'a>,
    inventory: &'a Inventory<'a>,
    providers: ExtensionProviders,
    root_namespace: &'a str,
    /// What the policies with these numbers say together. Workloads that the same policies
    /// select share it: a policy of a namespace can have many rules.
    merged: RefCell<HashMap<Vec<usize>, Arc<AuthorizationPolicies>>>,
}

struct Policy<'a> {
    source: &'a Source<'a, AuthorizationPolicy>,
    is_dry_run: bool,
    rules: Vec<Arc<Rule>>,
}

/// A Gateway of the Gateway API, by namespace and name.
pub(crate) type GatewayName<'a> = (&'a str, &'a str);

impl<'a> Authorization<'a> {
    pub(crate) fn new(
        inventory: &'a Inventory<'a>,
        options: &'a Options,
        providers: ExtensionProviders,
    ) -> Self {
        let policies = inventory.authorization_policies.iter();
        let trust_domains = TrustDomains::new(inventory, options);
        Self {
            policies: policies
                .map(|policy| Policy::new(policy, &trust_domains))
                .collect(),
            legacy: LegacyRoles::new(inventory, options),
            inventory,
            providers,
            root_namespace: &options.root_namespace,
            merged: RefCell::default(),
        }
    }

    /// The policies of `workload`.
    pub(crate) fn of(&self, workload: &Workload) -> Arc<AuthorizationPolicies> {
        let selecting = self.numbers(|policy| self.selects(policy, workload));
        if selecting.is_empty() {
            return self.legacy.of(workload).into();
        }
        self.merge(selecting)
    }

    /// The policies of a gateway that serves these Gateways; `workload` is the gateway
    /// itself.
    pub(crate) fn of_gateway(
        &self,
        workload: &Workload,
        gateways: &[GatewayName<'_>],
    ) -> Arc<AuthorizationPolicies> {
        self.merge(self.numbers(|policy| {
            let mut gateways = gateways.iter();
            self.selects(policy, workload) || gateways.any(|it| self.targets(policy, *it))
        }))
    }

    /// The numbers of the policies that are selected.
    fn numbers(&self, is_selected: impl Fn(&Policy<'_>) -> bool) -> Vec<usize> {
        let numbered = self.policies.iter().enumerate();
        let selected = numbered.filter(|(_, policy)| is_selected(policy));
        selected.map(|(number, _)| number).collect()
    }

    /// Whether any policy names a Gateway of the Gateway API.
    pub(crate) fn has_targeted_gateways(&self) -> bool {
        self.inventory.gateway_api_gateways.iter().any(|gateway| {
            let name = (gateway.namespace(), gateway.name());
            self.policies
                .iter()
                .any(|policy| self.targets(policy, name))
        })
    }

    /// Problems that only the other objects show. `workloads` are those that have pods.
    pub(crate) fn problems(
        &self,
        workloads: &[&Workload],
        gateway: &Workload,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        problems::find(self, workloads, gateway, diagnostics);
    }

    fn selects(&self, policy: &Policy<'_>, workload: &Workload) -> bool {
        let (scope, home) = (&policy.source.spec.applies_to, policy.source.namespace());
        selects(scope, home, workload, self.inventory, self.root_namespace)
    }

    /// The rules of the policies with these numbers, which select the same workload.
    fn merge(&self, numbers: Vec<usize>) -> Arc<AuthorizationPolicies> {
        let mut merged = self.merged.borrow_mut();
        let policies = numbers
            .iter()
            .filter_map(|number| self.policies.get(*number));
        let policies: Vec<_> = policies.collect();
        let merge = || {
            let provider = match providers(&policies).as_slice() {
                [name] => self.providers.get(name).ok(),
                _ => None,
            };
            Arc::new(merge(&policies, provider))
        };
        merged.entry(numbers).or_insert_with(merge).clone()
    }

    /// Whether the policy applies to requests that this Gateway serves.
    fn targets(&self, policy: &Policy<'_>, gateway: GatewayName<'_>) -> bool {
        let (scope, home) = (&policy.source.spec.applies_to, policy.source.namespace());
        targets_gateway(scope, home, gateway, self.root_namespace)
    }
}

/// The names of the providers that the policies want to ask, in order.
fn providers<'p>(policies: &[&'p Policy<'_>]) -> Vec<&'p str> {
    let names = policies.iter().filter_map(|policy| policy.provider());
    let names: BTreeSet<_> = names.collect();
    names.into_iter().collect()
}

/// The names of the Services in front of `workload`.
fn services<'i>(
    inventory: &'i Inventory<'_>,
    workload: &Workload,
) -> impl Iterator<Item = &'i str> {
    let all = inventory.services.iter();
    let selecting = all.filter(move |service| {
        let selector = &service.spec.selector;
        service.namespace() == workload.namespace
            && !selector.is_empty()
            && selector
                .iter()
                .all(|(key, value)| workload.labels.get(key) == Some(value))
    });
    selecting.map(Source::name)
}

impl<'a> Policy<'a> {
    /// The name of the provider that it wants to ask.
    fn provider(&self) -> Option<&str> {
        match &self.source.spec.action {
            AuthorizationAction::Custom(name) if !self.is_dry_run => Some(name),
            _ => None,
        }
    }

    fn new(source: &'a Source<'a, AuthorizationPolicy>, trust_domains: &TrustDomains) -> Self {
        let annotation = source.object.metadata.annotations.get(DRY_RUN);
        let is_dry_run = annotation
            .is_some_and(|it| matches!(it.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"));
        let (namespace, name) = (source.namespace(), source.name());
        let forbids = matches!(
            source.spec.action,
            AuthorizationAction::Deny | AuthorizationAction::Audit | AuthorizationAction::Custom(_)
        );
        let prefix = match &source.spec.action {
            AuthorizationAction::Custom(provider) => format!("istio-ext-authz-{provider}-"),
            _ => String::new(),
        };
        let object = Arc::new(source.reference("AuthorizationPolicy"));
        let conditions =
            |matches: &Vec<AttributeMatch>| compile(matches, namespace, forbids, trust_domains);
        let rules = source.spec.rules.iter().enumerate().map(|(number, rule)| {
            Arc::new(Rule {
                name: format!("{prefix}ns[{namespace}]-policy[{name}]-rule[{number}]"),
                policy: Arc::clone(&object),
                at: rule.at.clone(),
                sources: rule.from.iter().map(conditions).collect(),
                operations: rule.to.iter().map(conditions).collect(),
                when: conditions(&rule.when),
            })
        });
        Self {
            source,
            is_dry_run,
            rules: rules.collect(),
        }
    }
}

fn compile(
    matches: &[AttributeMatch],
    namespace: &str,
    forbids: bool,
    trust_domains: &TrustDomains,
) -> Vec<Condition> {
    let matches = matches.iter();
    matches
        .map(|it| Condition::new(it, namespace, forbids, trust_domains))
        .collect()
}

fn merge(
    policies: &[&Policy<'_>],
    provider: Option<Arc<ExtAuthzProvider>>,
) -> AuthorizationPolicies {
    let actions = |is_dry_run: bool| {
        let of = |is_action: fn(&AuthorizationAction) -> bool| {
            let policies = policies.iter();
            policies.filter(move |policy| {
                policy.is_dry_run == is_dry_run && is_action(&policy.source.spec.action)
            })
        };
        let rules = |is_action| {
            let rules = of(is_action).flat_map(|policy| policy.rules.iter().cloned());
            RuleSet::new(rules.collect())
        };
        let is_allow: fn(&AuthorizationAction) -> bool =
            |action| *action == AuthorizationAction::Allow;
        Actions {
            custom: rules(|action| matches!(action, AuthorizationAction::Custom(_))),
            audit: rules(|action| *action == AuthorizationAction::Audit),
            deny: rules(|action| *action == AuthorizationAction::Deny),
            allow: of(is_allow).next().is_some().then(|| rules(is_allow)),
        }
    };
    AuthorizationPolicies {
        enforced: actions(false),
        provider,
        dry_run: actions(true),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::time::Instant;

    use galleria_manifest::model::Labels;

    use super::*;
    use crate::{Location, Pod, State, compile};

    const POLICIES: &str = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all, namespace: shop}
spec: {rules: [{to: [{operation: {methods: [GET]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: one, namespace: shop}
spec: {selector: {matchLabels: {app: a}}, action: DENY, rules: [{}]}
";

    fn pod(number: usize, name: &str) -> Pod {
        let labels = Labels::from([("app".to_owned(), name.to_owned())]);
        Pod {
            name: name.to_owned(),
            workload: Arc::new(Workload::new("shop", name, "default", labels.clone())),
            labels,
            ports: Vec::new(),
            ready: Arc::new(AtomicBool::new(true)),
            location: Location::Here(number),
        }
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "the state of a test begins at any time"
    )]
    fn workloads_that_the_same_policies_select_share_their_rules() {
        let loaded = galleria_manifest::read_str(Path::new("policies.yaml"), POLICIES);
        assert!(!loaded.has_errors(), "{:?}", loaded.diagnostics);
        let pods = [pod(0, "a"), pod(1, "b"), pod(2, "c")];
        let state = State::new(Instant::now());
        let snapshot = compile(&loaded.objects, &pods, &Options::default(), &state).snapshot;
        let [a, b, c] = pods.each_ref().map(|pod| {
            let policies = snapshot.inbound_policies(&pod.workload);
            &policies.expect("its policies").authorization
        });
        assert!(Arc::ptr_eq(b, c));
        assert!(!Arc::ptr_eq(a, b));
    }
}
