//! An index of the objects, for the lookup of references.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::hosts::{SUFFIX, resolve, service_of};
use super::visibility::Visibility;
use crate::Presets;
use crate::kind;
use crate::model::{
    ConfigMap, DestinationRule, Gateway, GatewayApiGateway, Labels, Object, ObjectKey, PodTemplate,
    ReferenceGrant, Resource, Secret, Service, ServiceEntry, VirtualService,
};

/// The namespace whose configuration applies everywhere (Istio's root namespace).
pub(super) const ROOT_NAMESPACE: &str = "istio-system";

type Named<'a, T> = HashMap<(&'a str, &'a str), (&'a Object, &'a T)>;

#[derive(Default)]
pub(super) struct Index<'a> {
    pub(super) services: Named<'a, Service>,
    pub(super) gateways: Named<'a, Gateway>,
    pub(super) virtual_services: Named<'a, VirtualService>,
    /// Gateways of the Gateway API.
    pub(super) gateway_api_gateways: Named<'a, GatewayApiGateway>,
    pub(super) grants: Vec<(&'a Object, &'a ReferenceGrant)>,
    pub(super) config_maps: Named<'a, ConfigMap>,
    pub(super) secrets: Named<'a, Secret>,
    pub(super) presets: Presets<'a>,
    /// Where the Secrets of Istio's Gateways are, unless beside each Gateway.
    gateway_namespace: Option<&'a str>,
    claims: HashSet<(&'a str, &'a str)>,
    accounts: HashSet<(&'a str, &'a str)>,
    namespaces: HashSet<&'a str>,
    /// VirtualServices, Gateways and ServiceEntries in the order in which they were loaded.
    pub(super) virtual_services_in_order: Vec<(&'a Object, &'a VirtualService)>,
    pub(super) gateways_in_order: Vec<(&'a Object, &'a Gateway)>,
    pub(super) service_entries_in_order: Vec<(&'a Object, &'a ServiceEntry)>,
    entry_hosts: HashMap<&'a str, &'a ServiceEntry>,
    entry_wildcards: Vec<(&'a str, &'a ServiceEntry)>,
    /// Every entry of an exact host.
    entry_exports: HashMap<&'a str, Vec<(&'a Object, &'a ServiceEntry)>>,
    /// DestinationRules by resolved host.
    rules: HashMap<String, Vec<(&'a Object, &'a DestinationRule)>>,
    workloads: Vec<(&'a Object, &'a PodTemplate)>,
    /// Workloads by namespace, and by one label of their pods.
    by_namespace: HashMap<&'a str, Vec<usize>>,
    by_label: HashMap<(&'a str, &'a str, &'a str), Vec<usize>>,
    /// Kind, namespace and name of objects that were refused because of an error of their own.
    refused: HashSet<(&'a str, &'a str, &'a str)>,
    refused_kinds: HashSet<&'a str>,
}

/// The target of a host name.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Service(&'a Object, &'a Service),
    Entry(&'a ServiceEntry),
    /// It exists, but has an error, so that its fields are unknown.
    Refused,
    Missing,
}

impl<'a> Index<'a> {
    pub(super) fn new(
        objects: &'a [Arc<Object>],
        refused: &'a HashSet<ObjectKey>,
        gateway_namespace: Option<&'a str>,
    ) -> Self {
        let mut index = Self {
            presets: Presets::of(objects),
            gateway_namespace,
            ..Self::default()
        };
        for key in refused {
            index.refused.insert((&key.kind, &key.namespace, &key.name));
            index.refused_kinds.insert(&key.kind);
        }
        for object in objects {
            index.add(object);
        }
        index
    }

    /// The namespace of the Secrets of an Istio Gateway.
    pub(super) fn secrets_of<'o>(&self, gateway: &'o Object) -> &'o str
    where
        'a: 'o,
    {
        self.gateway_namespace
            .unwrap_or(&gateway.metadata.namespace)
    }

    fn add(&mut self, object: &'a Object) {
        if let Some((template, _)) = object.serving() {
            self.add_workload(object, template);
        }
        let namespace = object.metadata.namespace.as_str();
        let key = (namespace, object.metadata.name.value.as_str());
        match &object.resource {
            Resource::Namespace(_) => {
                self.namespaces.insert(key.1);
            }
            Resource::Service(service) => {
                self.services.insert(key, (object, service));
            }
            Resource::Gateway(gateway) => {
                self.gateways.insert(key, (object, gateway));
                self.gateways_in_order.push((object, gateway));
            }
            Resource::VirtualService(service) => {
                self.virtual_services.insert(key, (object, service));
                self.virtual_services_in_order.push((object, service));
            }
            Resource::GatewayApiGateway(gateway) => {
                self.gateway_api_gateways.insert(key, (object, gateway));
            }
            Resource::ReferenceGrant(grant) => self.grants.push((object, grant)),
            Resource::ConfigMap(map) => {
                self.config_maps.insert(key, (object, map));
            }
            Resource::Secret(secret) => {
                self.secrets.insert(key, (object, secret));
            }
            Resource::PersistentVolumeClaim(_) => {
                self.claims.insert(key);
            }
            Resource::ServiceAccount(_) => {
                self.accounts.insert(key);
            }
            Resource::DestinationRule(rule) => {
                let host = resolve(&rule.host, namespace);
                self.rules.entry(host).or_default().push((object, rule));
            }
            Resource::ServiceEntry(entry) => self.add_entry(object, entry),
            Resource::Deployment(_)
            | Resource::DaemonSet(_)
            | Resource::Node(_)
            | Resource::PersistentVolume(_)
            | Resource::Pod(_)
            | Resource::ReplicaSet(_)
            | Resource::StatefulSet(_)
            | Resource::HorizontalPodAutoscaler(_)
            | Resource::Canary(_)
            | Resource::PodDisruptionBudget(_)
            | Resource::Job(_)
            | Resource::CronJob(_)
            | Resource::Ingress(_)
            | Resource::NetworkPolicy(_)
            | Resource::Sidecar(_)
            | Resource::GatewayApiHttpRoute(_)
            | Resource::PodPreset(_)
            | Resource::RequestAuthentication(_)
            | Resource::PeerAuthentication(_)
            | Resource::LegacyAuthentication(_)
            | Resource::LimitRange(_)
            | Resource::ResourceQuota(_)
            | Resource::AuthorizationPolicy(_)
            | Resource::RbacConfig(_)
            | Resource::ServiceRole(_)
            | Resource::ServiceRoleBinding(_)
            | Resource::MeshConfig(_)
            | Resource::EnvoyFilter(_)
            | Resource::NotEnforced => {}
        }
    }

    fn add_entry(&mut self, object: &'a Object, entry: &'a ServiceEntry) {
        self.service_entries_in_order.push((object, entry));
        for host in &entry.hosts {
            match host.strip_prefix('*') {
                Some(suffix) => self.entry_wildcards.push((suffix, entry)),
                None => {
                    self.entry_hosts.entry(host.as_str()).or_insert(entry);
                    let all = self.entry_exports.entry(host.as_str());
                    all.or_default().push((object, entry));
                }
            }
        }
    }

    fn add_workload(&mut self, object: &'a Object, template: &'a PodTemplate) {
        let at = self.workloads.len();
        self.workloads.push((object, template));
        let namespace = object.metadata.namespace.as_str();
        self.by_namespace.entry(namespace).or_default().push(at);
        for (key, value) in &template.labels {
            self.by_label
                .entry((namespace, key, value))
                .or_default()
                .push(at);
        }
    }

    /// The target of `host` in an object of `namespace`.
    pub(super) fn target(&self, host: &str, namespace: &str) -> Target<'a> {
        let full = resolve(host, namespace);
        if let Some((name, namespace)) = service_of(&full) {
            if let Some((object, service)) = self.services.get(&(namespace, name)) {
                return Target::Service(object, service);
            }
            if self.is_refused("Service", namespace, name) {
                return Target::Refused;
            }
        }
        if let Some(entry) = self.entry_hosts.get(full.as_str()) {
            return Target::Entry(entry);
        }
        let wildcard = self
            .entry_wildcards
            .iter()
            .filter(|(suffix, _)| full.ends_with(suffix) && full.len() > suffix.len())
            .max_by_key(|(suffix, _)| suffix.len());
        match wildcard {
            Some((_, entry)) => Target::Entry(entry),
            // The host may be that of a refused ServiceEntry.
            None if self.any_refused("ServiceEntry") && service_of(&full).is_none() => {
                Target::Refused
            }
            None => Target::Missing,
        }
    }

    /// The rules for `host` that are visible to a caller in `namespace`.
    pub(super) fn rules_for(
        &self,
        host: &str,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Object, &'a DestinationRule)> {
        let full = resolve(host, namespace);
        let of_service = service_of(&full).map(|(_, namespace)| namespace.to_owned());
        let namespace = namespace.to_owned();
        self.rules
            .get(&full)
            .into_iter()
            .flatten()
            .copied()
            .filter(move |(object, _)| {
                let home = object.metadata.namespace.as_str();
                home == namespace || Some(home) == of_service.as_deref() || home == ROOT_NAMESPACE
            })
    }

    /// Whether a VirtualService has exactly this host, which is a full name.
    pub(super) fn has_virtual_service_for(&self, host: &str) -> bool {
        self.virtual_services_in_order
            .iter()
            .flat_map(|(_, service)| &service.hosts)
            .any(|it| it.value.eq_ignore_ascii_case(host))
    }

    /// Every possible host of a route: full names of Services, and hosts of ServiceEntries.
    pub(super) fn host_names(&self) -> Vec<String> {
        let services = self
            .services
            .keys()
            .map(|(ns, name)| format!("{name}.{ns}.{SUFFIX}"));
        services
            .chain(self.entry_hosts.keys().map(|host| (*host).to_owned()))
            .collect()
    }

    /// The workloads of `namespace` whose pods have all of `labels`.
    pub(super) fn selected(
        &self,
        namespace: &str,
        labels: &Labels,
    ) -> Vec<(&'a Object, &'a PodTemplate)> {
        let rarest = labels
            .iter()
            .map(|(key, value)| {
                self.by_label
                    .get(&(namespace, key.as_str(), value.as_str()))
            })
            .min_by_key(|found| found.map_or(0, Vec::len));
        rarest
            .flatten()
            .into_iter()
            .flatten()
            .map(|at| self.workloads[*at])
            .filter(|(_, template)| {
                labels
                    .iter()
                    .all(|(key, value)| template.labels.get(key) == Some(value))
            })
            .collect()
    }

    /// As [`Index::selected`], in every namespace. No labels select nothing.
    pub(super) fn selected_anywhere(&self, labels: &Labels) -> Vec<(&'a Object, &'a PodTemplate)> {
        let namespaces = self.by_namespace.keys();
        namespaces
            .flat_map(|namespace| self.selected(namespace, labels))
            .collect()
    }

    /// Whether `host` is declared, and an object of `namespace` with this visibility sees none of
    /// the declarations.
    pub(super) fn is_hidden(
        &self,
        host: &str,
        namespace: &str,
        visibility: &Visibility<'_>,
    ) -> bool {
        let full = resolve(host, namespace);
        let of_service = service_of(&full)
            .and_then(|(name, home)| self.services.get(&(home, name)))
            .map(|(object, _)| Visibility::of_service(object));
        let of_entries = self
            .entry_exports
            .get(full.as_str())
            .into_iter()
            .flatten()
            .map(|(object, entry)| Visibility::of_export_to(&entry.export_to, object));
        let mut declared = of_service.into_iter().chain(of_entries).peekable();
        declared.peek().is_some()
            && declared.all(|target| match visibility {
                Visibility::All => !target.reaches(namespace),
                Visibility::Namespaces(_) => !target.meets(visibility),
            })
    }

    pub(super) fn workloads_in(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Object, &'a PodTemplate)> {
        self.by_namespace
            .get(namespace)
            .into_iter()
            .flatten()
            .map(|at| self.workloads[*at])
    }

    pub(super) fn has_claim(&self, namespace: &str, name: &str) -> bool {
        self.claims.contains(&(namespace, name))
            || self.is_refused("PersistentVolumeClaim", namespace, name)
    }

    pub(super) fn claims_in(&self, namespace: &str) -> impl Iterator<Item = &'a str> {
        self.claims
            .iter()
            .filter(move |(home, _)| *home == namespace)
            .map(|(_, name)| *name)
    }

    pub(super) fn has_account(&self, namespace: &str, name: &str) -> bool {
        self.accounts.contains(&(namespace, name))
            || self.is_refused("ServiceAccount", namespace, name)
    }

    pub(super) fn accounts_in(&self, namespace: &str) -> impl Iterator<Item = &'a str> {
        self.accounts
            .iter()
            .filter(move |(home, _)| *home == namespace)
            .map(|(_, name)| *name)
    }

    pub(super) fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains(name) || self.is_refused("Namespace", "", name)
    }

    pub(super) fn namespaces(&self) -> impl Iterator<Item = &'a str> {
        self.namespaces.iter().copied()
    }

    pub(super) fn is_refused(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.refused.contains(&(kind, namespace, name))
    }

    pub(super) fn any_refused(&self, kind: &str) -> bool {
        self.refused_kinds.contains(kind)
    }

    /// Whether an object was refused whose pods may serve requests.
    pub(super) fn any_serving_refused(&self) -> bool {
        let mut serving = kind::all().iter().filter(|kind| kind.serves_requests);
        serving.any(|kind| self.any_refused(kind.kind))
    }
}

/// The names of `namespace` in a map of named objects.
pub(super) fn names_in<'a, T>(
    named: &Named<'a, T>,
    namespace: &str,
) -> impl Iterator<Item = &'a str> {
    named
        .keys()
        .filter(move |(home, _)| *home == namespace)
        .map(|(_, name)| *name)
}
