//! Which DestinationRule applies to a destination, for which caller.

use std::collections::HashMap;

use galleria_manifest::model::{DestinationRule, Subset, TrafficPolicy};

use super::export::{ExportTo, View};
use super::inventory::{Inventory, Source, full_name};
use super::registry::RegistryService;
use crate::decide::host::HostTable;
use crate::{ObjectRef, Options};

/// All DestinationRules. Those of the same namespace, host and `exportTo` are merged.
#[derive(Debug, Default)]
pub(crate) struct DestinationRules {
    pub(crate) rules: Vec<MergedRule>,
    /// Rules for workloads of their own namespace. Of the root namespace, only those that are not
    /// exported to others.
    own: HashMap<String, HostTable<Vec<usize>>>,
    /// Rules for other namespaces too: those for one namespace hide no wildcard host from
    /// other namespaces.
    exported: HashMap<String, HostTable<Vec<usize>>>,
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
            let namespace = source.namespace();
            let host = full_name(&source.spec.host, namespace, &options.cluster_domain);
            let export_to = ExportTo::new(&source.spec.export_to, namespace);
            let is_private = export_to.is_only(namespace);
            let is_own = match namespace == options.root_namespace {
                true => is_private,
                false => export_to.reaches(View::Namespace(namespace)),
            };
            for (is_wanted, tables) in [(is_own, &mut all.own), (!is_private, &mut all.exported)] {
                if is_wanted {
                    let table = tables.entry(namespace.to_owned()).or_default();
                    let same_host = table.entry(&host).or_default();
                    add(&mut all.rules, same_host, source, export_to.clone());
                }
            }
        }
        all
    }

    /// The rule for calls to `service`: of the caller's namespace, else of the service's,
    /// else of the root namespace. Only the first of these namespaces with a rule counts.
    pub(crate) fn find(&self, service: &RegistryService, client: View<'_>) -> Option<usize> {
        let find = |tables: &HashMap<String, HostTable<Vec<usize>>>, namespace: &str| {
            let same_host = tables.get(namespace)?.get(&service.host)?;
            // As in Istio, the youngest that is not merged with the others.
            let mut youngest_first = same_host.iter().rev();
            youngest_first
                .find(|number| {
                    let rule = self.rules.get(**number);
                    rule.is_some_and(|rule| rule.export_to.reaches(client))
                })
                .copied()
        };
        let own = match client {
            View::Namespace(namespace) => find(&self.own, namespace),
            View::Others => None,
        };
        own.or_else(|| find(&self.exported, &service.namespace))
            .or_else(|| find(&self.exported, &self.root_namespace))
    }

    /// The namespaces whose calls to `service` may have a different policy than those of
    /// other namespaces.
    pub(crate) fn special<'a>(
        &'a self,
        service: &'a RegistryService,
    ) -> impl Iterator<Item = &'a str> {
        let tables = self.own.iter().chain(&self.exported);
        let rules = tables.flat_map(|(namespace, table)| {
            let same_host = table.get(&service.host).into_iter().flatten();
            let rules = same_host.filter_map(|number| self.rules.get(*number));
            rules.map(move |rule| (namespace.as_str(), rule))
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

/// Merges a rule into those of the same host for the same namespaces, or for some of them. For
/// the other namespaces it is one of its own.
fn add(
    rules: &mut Vec<MergedRule>,
    same_host: &mut Vec<usize>,
    source: &Source<'_, DestinationRule>,
    mut export_to: ExportTo,
) {
    for number in same_host.iter() {
        let Some(earlier) = rules.get_mut(*number) else {
            continue;
        };
        let Some(rest) = export_to.without(&earlier.export_to) else {
            continue;
        };
        earlier.merge(source.spec);
        match rest {
            Some(rest) => export_to = rest,
            None => return,
        }
    }
    same_host.push(rules.len());
    rules.push(MergedRule {
        object: source.reference("DestinationRule"),
        export_to,
        policy: source.spec.traffic_policy.clone(),
        subsets: source.spec.subsets.clone(),
    });
}

impl MergedRule {
    /// Adds the subsets: the first of a name wins. The policy is that of the first rule that has
    /// one.
    fn merge(&mut self, rule: &DestinationRule) {
        if self.policy.is_none() {
            self.policy.clone_from(&rule.traffic_policy);
        }
        for subset in &rule.subsets {
            if self.subset(subset.name.as_str()).is_none() {
                self.subsets.push(subset.clone());
            }
        }
    }

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
