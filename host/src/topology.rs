//! Which workloads run in this host, and where the others run.
//!
//! By default, all workloads run here. With `--workload`, only the named ones do, as one
//! replica each: this host is then one pod of a cluster, which controls the number of
//! replicas. With `--gateway` alone, none does. The mesh is the same in every host: the
//! same manifests give the same routes, and pods in other hosts are endpoints like those
//! in this host.

mod peers;
mod trust;

use std::collections::BTreeSet;
use std::sync::Arc;

use galleria_manifest::model::{
    ContainerPort, Labels, Object, PortReference, Resource, ServiceKind,
};
use galleria_mesh::{self as mesh, InboundPort};

use crate::settings::identity::TrustSettings;
use crate::settings::topology::{Address, PeerAddress, TopologySettings, WorkloadName};

pub(crate) use peers::Peers;
pub(crate) use trust::Trust;

/// See the module's documentation.
pub(crate) struct Topology {
    /// `None` if every workload runs here.
    here: Option<Vec<WorkloadName>>,
    /// Whether this host opens the ports of Gateways and Ingresses.
    pub gateway: bool,
    addresses: Vec<PeerAddress>,
    cluster_domain: String,
    trust_domain: Arc<str>,
}

/// A workload whose pods run in other hosts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PeerWorkload {
    pub workload: Arc<mesh::Workload>,
    pub ports: Vec<ContainerPort>,
    /// At least one.
    pub at: Vec<Address>,
}

/// Names of `--workload` that no manifest declares.
#[derive(Debug, thiserror::Error)]
#[error("--workload {missing}: no such workload in the manifests; they declare {known}")]
pub(crate) struct UnknownWorkload {
    missing: String,
    known: String,
}

impl Topology {
    pub(crate) fn of(settings: &TopologySettings, trust: &TrustSettings) -> Self {
        let whole = !settings.has_other_hosts();
        Self {
            here: (!whole).then(|| settings.workloads.clone()),
            gateway: whole || settings.gateway,
            addresses: settings.peers.clone(),
            cluster_domain: mesh::Options::default().cluster_domain,
            trust_domain: trust.trust_domain.clone(),
        }
    }

    /// The part of `objects` that this host runs: without the workloads of other hosts,
    /// and without what the cluster does for the workloads of this host.
    ///
    /// # Errors
    /// No workload has a name given by `--workload`.
    pub(crate) fn here(
        &self,
        objects: &[Arc<Object>],
    ) -> Result<Vec<Arc<Object>>, UnknownWorkload> {
        let Some(names) = &self.here else {
            return Ok(objects.to_vec());
        };
        let workloads: Vec<_> = objects.iter().filter(|it| is_workload(it)).collect();
        let unknown = names
            .iter()
            .find(|name| !workloads.iter().any(|object| is_named(name, object)));
        if let Some(missing) = unknown {
            let known: BTreeSet<_> = workloads.iter().map(|object| qualified(object)).collect();
            return Err(UnknownWorkload {
                missing: missing.to_string(),
                known: Vec::from_iter(known).join(", "),
            });
        }
        let kept = objects.iter().filter_map(|object| {
            let kept = match object.resource {
                Resource::PodDisruptionBudget(_) | Resource::HorizontalPodAutoscaler(_) => false,
                _ => !is_workload(object) || self.runs_here(object),
            };
            kept.then(|| one_replica(object))
        });
        Ok(kept.collect())
    }

    /// The ports on which other hosts call the pods of this host.
    pub(crate) fn inbound(&self, objects: &[Arc<Object>]) -> Vec<InboundPort> {
        if self.here.is_none() {
            return Vec::new();
        }
        let mut inbound = Vec::new();
        for object in objects.iter().filter(|object| self.runs_here(object)) {
            let Some((template, _)) = object.serving() else {
                continue;
            };
            let metadata = &object.metadata;
            for port in ports(object, objects) {
                inbound.push(InboundPort {
                    namespace: metadata.namespace.clone(),
                    name: metadata.name.value.clone(),
                    service_account: template.spec.service_account_name.value.clone(),
                    port,
                });
            }
        }
        inbound
    }

    /// The workloads that run in other hosts.
    pub(crate) fn elsewhere(&self, objects: &[Arc<Object>]) -> Vec<PeerWorkload> {
        let elsewhere = objects.iter().filter(|object| !self.runs_here(object));
        let workloads = elsewhere.filter_map(|object| {
            let (template, _) = object.serving()?;
            let containers = template.spec.containers.iter();
            let workload = mesh::Workload::new(
                object.metadata.namespace.clone(),
                object.metadata.name.value.clone(),
                template.spec.service_account_name.value.clone(),
                template.labels.clone(),
            );
            Some(PeerWorkload {
                workload: Arc::new(workload.in_trust_domain(&self.trust_domain)),
                ports: containers.flat_map(|it| it.ports.iter().cloned()).collect(),
                at: self.addresses(object, objects),
            })
        });
        workloads.collect()
    }

    fn runs_here(&self, object: &Object) -> bool {
        let named = |names: &Vec<WorkloadName>| names.iter().any(|name| is_named(name, object));
        self.here.as_ref().is_none_or(named)
    }

    /// The addresses given by `--peer`; otherwise a headless Service that selects only
    /// this workload; otherwise the workload's own name, which the cluster may resolve.
    fn addresses(&self, object: &Object, objects: &[Arc<Object>]) -> Vec<Address> {
        let given = self.addresses.iter();
        let given = given.filter(|it| is_named(&it.workload, object));
        let given: Vec<_> = given.map(|it| it.address.clone()).collect();
        if !given.is_empty() {
            return given;
        }
        let metadata = &object.metadata;
        let only = headless_services(objects).find(|(service, selector)| {
            let mut selected = objects.iter().filter(|other| {
                other.metadata.namespace == service.metadata.namespace
                    && is_selected(selector, other)
            });
            selected
                .next()
                .is_some_and(|first| first.key() == object.key())
                && selected.next().is_none()
        });
        let service = only.map_or(&metadata.name, |(service, _)| &service.metadata.name);
        let (namespace, domain) = (&metadata.namespace, &self.cluster_domain);
        vec![Address {
            host: format!("{}.{namespace}.svc.{domain}", service.value),
            port: None,
        }]
    }
}

/// Whether `name` refers to the workload `object`.
fn is_named(name: &WorkloadName, object: &Object) -> bool {
    let namespace = name.namespace.as_ref();
    is_workload(object)
        && object.metadata.name.value == name.name
        && namespace.is_none_or(|namespace| object.metadata.namespace == *namespace)
}

fn is_workload(object: &Object) -> bool {
    object.serving().is_some() || matches!(object.resource, Resource::Job(_) | Resource::CronJob(_))
}

fn qualified(object: &Object) -> String {
    format!("{}/{}", object.metadata.namespace, object.metadata.name)
}

/// The cluster controls the number of replicas: each is a separate host.
fn one_replica(object: &Arc<Object>) -> Arc<Object> {
    let mut object = object.clone();
    let replicas = match &mut Arc::make_mut(&mut object).resource {
        Resource::Deployment(it) => &mut it.replicas,
        Resource::ReplicaSet(it) => &mut it.replicas,
        Resource::StatefulSet(it) => &mut it.replicas,
        _ => return object,
    };
    replicas.value = replicas.value.min(1);
    object
}

/// The ports that its containers declare, and those that Services target by number.
fn ports(object: &Object, objects: &[Arc<Object>]) -> BTreeSet<u16> {
    let Some((template, _)) = object.serving() else {
        return BTreeSet::new();
    };
    let containers = template.spec.containers.iter();
    let declared = containers.flat_map(|it| it.ports.iter().map(|port| port.container_port));
    let services = objects.iter().filter_map(|other| match &other.resource {
        Resource::Service(service)
            if other.metadata.namespace == object.metadata.namespace
                && is_selected(&service.selector, object) =>
        {
            Some(service)
        }
        _ => None,
    });
    let aimed = services.flat_map(|service| &service.ports);
    let aimed = aimed.filter_map(|port| match port.target_port {
        PortReference::Number(number) => Some(number),
        PortReference::Name(_) => None,
    });
    declared.chain(aimed).collect()
}

fn headless_services(objects: &[Arc<Object>]) -> impl Iterator<Item = (&Object, &Labels)> {
    objects.iter().filter_map(|object| match &object.resource {
        Resource::Service(service) if service.kind == ServiceKind::Headless => {
            Some((object.as_ref(), &service.selector))
        }
        _ => None,
    })
}

fn is_selected(selector: &Labels, object: &Object) -> bool {
    let Some((template, _)) = object.serving() else {
        return false;
    };
    let mut wanted = selector.iter();
    !selector.is_empty() && wanted.all(|(key, value)| template.labels.get(key) == Some(value))
}
