//! Roles of Istio until 1.5. Where ClusterRbacConfig turns them on, a request needs a
//! role: they are compiled to ALLOW rules, one for each binding and rule of its role.

use std::sync::Arc;

use galleria_manifest::model::{
    AccessRule, AttributeMatch, DestinationAttribute, DestinationConstraint, RbacConfig, RbacMode,
    RbacTarget, ServiceRole, ServiceRoleBinding,
};

use super::{compile, services};
use crate::compile::inventory::{Inventory, Source};
use crate::compile::trust_domains::TrustDomains;
use crate::inbound::authorization::rule::Rule;
use crate::inbound::authorization::rule_set::RuleSet;
use crate::inbound::authorization::{Actions, AuthorizationPolicies};
use crate::{ObjectRef, Options, Workload};

/// The configuration that applies, with all roles and bindings.
pub(super) struct LegacyRoles<'a> {
    inventory: &'a Inventory<'a>,
    config: Option<&'a RbacConfig>,
    cluster_domain: &'a str,
    trust_domains: TrustDomains,
}

impl<'a> LegacyRoles<'a> {
    pub(super) fn new(inventory: &'a Inventory<'a>, options: &'a Options) -> Self {
        let of_cluster = |it: &&Source<'_, RbacConfig>| it.namespace().is_empty();
        let configs = &inventory.rbac_configs;
        // The reader accepts only the name `default`.
        let config = configs.iter().find(of_cluster).or(configs.first());
        Self {
            inventory,
            config: config.map(|config| config.spec),
            cluster_domain: &options.cluster_domain,
            trust_domains: TrustDomains::new(inventory, options),
        }
    }

    pub(super) fn of(&self, workload: &Workload) -> AuthorizationPolicies {
        let mut policies = AuthorizationPolicies::default();
        let Some(config) = self.config else {
            return policies;
        };
        let services = self.service_hosts(workload);
        if !is_on(&config.mode, &workload.namespace, &services) {
            return policies;
        }
        let rules = |with_permissive| {
            let rules = self.rules(workload, &services, with_permissive);
            Some(RuleSet::new(rules))
        };
        if !config.is_permissive {
            policies.enforced.allow = rules(false);
        }
        if config.is_permissive || self.has_permissive_bindings(&workload.namespace) {
            policies.dry_run = Actions {
                allow: rules(true),
                ..Actions::default()
            };
        }
        policies
    }

    pub(super) fn is_on_for(&self, workload: &Workload) -> bool {
        let services = self.service_hosts(workload);
        self.config
            .is_some_and(|config| is_on(&config.mode, &workload.namespace, &services))
    }

    fn service_hosts(&self, workload: &Workload) -> Vec<String> {
        let namespace = &workload.namespace;
        let host = |name| format!("{name}.{namespace}.svc.{}", self.cluster_domain);
        services(self.inventory, workload).map(host).collect()
    }

    fn bindings<'b>(
        &'b self,
        namespace: &'b str,
    ) -> impl Iterator<Item = &'b Source<'a, ServiceRoleBinding>> {
        let all = self.inventory.role_bindings.iter();
        all.filter(move |it| it.namespace() == namespace)
    }

    fn has_permissive_bindings(&self, namespace: &str) -> bool {
        self.bindings(namespace).any(|it| it.spec.is_permissive)
    }

    /// The role that `binding` refers to.
    pub(super) fn role_of(
        &self,
        binding: &Source<'_, ServiceRoleBinding>,
    ) -> Option<&Source<'a, ServiceRole>> {
        let mut roles = self.inventory.roles.iter();
        roles.find(|role| {
            role.namespace() == binding.namespace() && role.name() == binding.spec.role.value
        })
    }

    fn rules(
        &self,
        workload: &Workload,
        services: &[String],
        with_permissive: bool,
    ) -> Vec<Arc<Rule>> {
        let mut rules = Vec::new();
        for binding in self.bindings(&workload.namespace) {
            if binding.spec.is_permissive && !with_permissive {
                continue;
            }
            let Some(role) = self.role_of(binding) else {
                continue;
            };
            let object = Arc::new(role.reference("ServiceRole"));
            for (number, access) in role.spec.rules.iter().enumerate() {
                if covers(access, workload, services) {
                    let names = &self.trust_domains;
                    rules.push(Arc::new(rule(&object, binding, number, access, names)));
                }
            }
        }
        rules
    }
}

fn rule(
    role: &Arc<ObjectRef>,
    binding: &Source<'_, ServiceRoleBinding>,
    number: usize,
    access: &AccessRule,
    trust_domains: &TrustDomains,
) -> Rule {
    let conditions =
        |matches: &Vec<AttributeMatch>| compile(matches, &role.namespace, false, trust_domains);
    Rule {
        name: format!(
            "ns[{}]-policy[{}]-rule[{number}]-binding[{}]",
            role.namespace,
            role.name,
            binding.name()
        ),
        policy: Arc::clone(role),
        at: access.at.clone(),
        sources: binding.spec.subjects.iter().map(conditions).collect(),
        operations: vec![conditions(&access.operation)],
        when: Vec::new(),
    }
}

fn is_on(mode: &RbacMode, namespace: &str, services: &[String]) -> bool {
    let has_namespace = |target: &RbacTarget| target.namespaces.iter().any(|it| it == namespace);
    match mode {
        RbacMode::Off => false,
        RbacMode::On => true,
        RbacMode::OnWithInclusion(target) => {
            has_namespace(target) || services.iter().any(|it| target.services.contains(it))
        }
        RbacMode::OnWithExclusion(target) => {
            let mut all = services.iter();
            let excluded = !services.is_empty() && all.all(|it| target.services.contains(it));
            !has_namespace(target) && !excluded
        }
    }
}

/// Whether a rule of a role is about `workload`, which is behind `services`.
fn covers(access: &AccessRule, workload: &Workload, services: &[String]) -> bool {
    let is_named = access
        .services
        .iter()
        .any(|pattern| pattern == "*" || services.iter().any(|service| matches(pattern, service)));
    is_named && access.destination.iter().all(|it| holds(it, workload))
}

fn holds(constraint: &DestinationConstraint, workload: &Workload) -> bool {
    let actual = match &constraint.attribute {
        DestinationAttribute::Label(name) => workload.labels.get(name).map(String::as_str),
        DestinationAttribute::Name => Some(workload.name.as_str()),
        DestinationAttribute::Namespace => Some(workload.namespace.as_str()),
        DestinationAttribute::User => Some(workload.service_account.as_str()),
    };
    actual.is_some_and(|actual| constraint.values.iter().any(|it| matches(it, actual)))
}

/// Whether `text` has the form `pattern`, with a `*` at one end.
fn matches(pattern: &str, text: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(suffix), _) => text.ends_with(suffix),
        (None, Some(prefix)) => text.starts_with(prefix),
        (None, None) => text == pattern,
    }
}
