//! Which DestinationRule applies to a destination, for which caller.

use std::collections::HashMap;

use galleria_manifest::model::{DestinationRule, Subset, TrafficPolicy};

use super::export::{ExportTo, View};
use super::inventory::{Inventory, Source, full_name};
use super::registry::RegistryService;
use crate::decide::host::HostTable;
use crate::{ObjectRef, Options};

/// All DestinationRules. Those of the same namespace and host are merged.
#[derive(Debug, Default)]
pub(crate) struct DestinationRules {
    pub(crate) rules: Vec<MergedRule>,
    by_namespace: HashMap<String, HostTable<usize>>,
    root_namespace: String,
}

#[derive(Debug)]
pub(crate) struct MergedRule {
    pub(crate) object: ObjectRef,
    export_to: ExportTo,
    policy: Option<TrafficPolicy>,
    subsets: Vec<Subset>,
}

impl DestinationRules {
    pub(crate) fn new(inventory: &Inventory<'_>, options: &Options) -> Self {
        let mut all = Self {
            root_namespace: options.root_namespace.clone(),
            ..Self::default()
        };
        for source in &inventory.destination_rules {
            all.add(source, options);
        }
        all
    }

    /// Merges the subsets: the first of a name wins. The policy is that of the first rule
    /// that has one.
    fn add(&mut self, source: &Source<'_, DestinationRule>, options: &Options) {
        let rule = source.spec;
        let host = full_name(&rule.host, source.namespace(), &options.cluster_domain);
        let table = self
            .by_namespace
            .entry(source.namespace().to_owned())
            .or_default();
        let number = *table.entry(&host).or_insert(self.rules.len());
        if let Some(earlier) = self.rules.get_mut(number) {
            if earlier.policy.is_none() {
                earlier.policy.clone_from(&rule.traffic_policy);
            }
            for subset in &rule.subsets {
                if earlier
                    .subsets
                    .iter()
                    .all(|known| known.name != subset.name)
                {
                    earlier.subsets.push(subset.clone());
                }
            }
            return;
        }
        self.rules.push(MergedRule {
            object: source.reference("DestinationRule"),
            export_to: ExportTo::new(&rule.export_to, source.namespace()),
            policy: rule.traffic_policy.clone(),
            subsets: rule.subsets.clone(),
        });
    }

    /// The rule for calls to `service`: of the caller's namespace, else of the service's,
    /// else of the root namespace. Only the first of these namespaces with a rule counts.
    pub(crate) fn find(&self, service: &RegistryService, client: View<'_>) -> Option<usize> {
        let own = match client {
            View::Namespace(namespace) => self.in_namespace(namespace, &service.host),
            View::Others => None,
        };
        // Rules of the root namespace are for all, unless one is for its own workloads only.
        let is_root = client == View::Namespace(&self.root_namespace);
        let own = own.filter(|number| {
            let rule = self.rules.get(*number);
            !is_root || rule.is_some_and(|it| it.export_to.is_only(&self.root_namespace))
        });
        let exported = |namespace: &str| {
            self.in_namespace(namespace, &service.host)
                .filter(|number| {
                    self.rules
                        .get(*number)
                        .is_some_and(|rule| rule.export_to.reaches(client))
                })
        };
        own.or_else(|| exported(&service.namespace))
            .or_else(|| exported(&self.root_namespace))
    }

    fn in_namespace(&self, namespace: &str, host: &str) -> Option<usize> {
        self.by_namespace.get(namespace)?.get(host).copied()
    }

    /// The namespaces whose calls to `service` may have a different policy than those of
    /// other namespaces.
    pub(crate) fn special<'a>(
        &'a self,
        service: &'a RegistryService,
    ) -> impl Iterator<Item = &'a str> {
        let rules = self.by_namespace.iter().filter_map(|(namespace, table)| {
            let rule = self.rules.get(*table.get(&service.host)?)?;
            Some((namespace.as_str(), rule))
        });
        rules.flat_map(|(namespace, rule)| {
            let shared = [&service.namespace, &self.root_namespace]
                .iter()
                .any(|it| *it == namespace);
            let own = (!shared || rule.export_to != ExportTo::All).then_some(namespace);
            own.into_iter()
                .chain(rule.export_to.special().iter().map(String::as_str))
        })
    }
}

impl MergedRule {
    pub(crate) fn subset(&self, name: &str) -> Option<&Subset> {
        self.subsets
            .iter()
            .find(|subset| subset.name.as_str() == name)
    }

    /// The policy of one port of the host, or of a subset of it.
    pub(crate) fn policy_for(&self, subset: Option<&Subset>, port: u16) -> TrafficPolicy {
        let base = self
            .policy
            .as_ref()
            .map_or_else(TrafficPolicy::default, |policy| {
                overlay(TrafficPolicy::default(), policy, port)
            });
        match subset.and_then(|subset| subset.traffic_policy.as_ref()) {
            Some(policy) => overlay(base, policy, port),
            None => base,
        }
    }
}

/// Blocks of `policy` replace those of the base. Settings of the port replace all of them,
/// including the blocks that they do not set.
fn overlay(base: TrafficPolicy, policy: &TrafficPolicy, port: u16) -> TrafficPolicy {
    if let Some((_, settings)) = policy
        .port_level_settings
        .iter()
        .find(|(it, _)| *it == port)
    {
        return TrafficPolicy {
            port_level_settings: Vec::new(),
            ..settings.clone()
        };
    }
    TrafficPolicy {
        load_balancer: policy.load_balancer.clone().or(base.load_balancer),
        connection_pool: policy.connection_pool.clone().or(base.connection_pool),
        outlier_detection: policy.outlier_detection.clone().or(base.outlier_detection),
        tls: policy.tls.clone().or(base.tls),
        port_level_settings: Vec::new(),
    }
}
