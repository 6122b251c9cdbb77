//! The resources that the mesh reads, by kind and in order of age.

use std::sync::Arc;

use galleria_manifest::model::{
    AuthorizationPolicy, DestinationRule, EnvoyFilter, Gateway, GatewayApiGateway,
    GatewayApiHttpRoute, Ingress, LegacyAuthentication, MeshConfig, NetworkPolicy, Object,
    PeerAuthentication, PodTemplate, RbacConfig, ReferenceGrant, RequestAuthentication, Resource,
    Service, ServiceEntry, ServiceRole, ServiceRoleBinding, Sidecar, VirtualService,
};

use crate::{ObjectRef, Options};

/// A resource of one kind, with its object.
#[derive(Debug)]
pub(crate) struct Source<'a, T> {
    pub(crate) object: &'a Object,
    pub(crate) spec: &'a T,
}

/// Oldest first: by creationTimestamp, then name, then namespace. Objects without a
/// timestamp come last, in the given order.
#[derive(Debug, Default)]
pub(crate) struct Inventory<'a> {
    pub(crate) services: Vec<Source<'a, Service>>,
    pub(crate) service_entries: Vec<Source<'a, ServiceEntry>>,
    pub(crate) gateways: Vec<Source<'a, Gateway>>,
    pub(crate) virtual_services: Vec<Source<'a, VirtualService>>,
    pub(crate) destination_rules: Vec<Source<'a, DestinationRule>>,
    pub(crate) ingresses: Vec<Source<'a, Ingress>>,
    pub(crate) gateway_api_gateways: Vec<Source<'a, GatewayApiGateway>>,
    pub(crate) gateway_api_routes: Vec<Source<'a, GatewayApiHttpRoute>>,
    pub(crate) reference_grants: Vec<Source<'a, ReferenceGrant>>,
    pub(crate) sidecars: Vec<Source<'a, Sidecar>>,
    pub(crate) envoy_filters: Vec<Source<'a, EnvoyFilter>>,
    pub(crate) network_policies: Vec<Source<'a, NetworkPolicy>>,
    pub(crate) authorization_policies: Vec<Source<'a, AuthorizationPolicy>>,
    pub(crate) rbac_configs: Vec<Source<'a, RbacConfig>>,
    pub(crate) roles: Vec<Source<'a, ServiceRole>>,
    pub(crate) role_bindings: Vec<Source<'a, ServiceRoleBinding>>,
    /// The workloads that may serve requests, as declared.
    pub(crate) workloads: Vec<(&'a Object, &'a PodTemplate)>,
    pub(crate) request_authentications: Vec<Source<'a, RequestAuthentication>>,
    pub(crate) peer_authentications: Vec<Source<'a, PeerAuthentication>>,
    pub(crate) legacy_authentications: Vec<Source<'a, LegacyAuthentication>>,
    /// Those in ConfigMaps come first.
    pub(crate) mesh_configs: Vec<&'a MeshConfig>,
    /// The Namespace objects, for their labels.
    pub(crate) namespaces: Vec<&'a Object>,
}

impl<'a> Inventory<'a> {
    pub(crate) fn new(objects: &'a [Arc<Object>]) -> Self {
        let mut sorted: Vec<&Object> = objects.iter().map(Arc::as_ref).collect();
        // The sort is stable, so equal keys stay in the given order.
        sorted.sort_by_key(|object| {
            let metadata = &object.metadata;
            let known = metadata.creation_timestamp.as_deref();
            (
                known.is_none(),
                known.map(|at| (at, metadata.name.as_str(), &metadata.namespace)),
            )
        });
        let mut inventory = Self::default();
        for object in sorted {
            inventory.add(object);
        }
        inventory
    }

    fn add(&mut self, object: &'a Object) {
        if let Some((template, _)) = object.serving() {
            self.workloads.push((object, template));
        }
        match &object.resource {
            Resource::Service(spec) => self.services.push(Source { object, spec }),
            Resource::ServiceEntry(spec) => self.service_entries.push(Source { object, spec }),
            Resource::Gateway(spec) => self.gateways.push(Source { object, spec }),
            Resource::VirtualService(spec) => self.virtual_services.push(Source { object, spec }),
            Resource::DestinationRule(spec) => self.destination_rules.push(Source { object, spec }),
            Resource::Ingress(spec) => self.ingresses.push(Source { object, spec }),
            Resource::GatewayApiGateway(spec) => {
                self.gateway_api_gateways.push(Source { object, spec });
            }
            Resource::GatewayApiHttpRoute(spec) => {
                self.gateway_api_routes.push(Source { object, spec });
            }
            Resource::ReferenceGrant(spec) => self.reference_grants.push(Source { object, spec }),
            Resource::Sidecar(spec) => self.sidecars.push(Source { object, spec }),
            Resource::EnvoyFilter(spec) => self.envoy_filters.push(Source { object, spec }),
            Resource::NetworkPolicy(spec) => self.network_policies.push(Source { object, spec }),
            Resource::AuthorizationPolicy(spec) => {
                self.authorization_policies.push(Source { object, spec });
            }
            Resource::RbacConfig(spec) => self.rbac_configs.push(Source { object, spec }),
            Resource::ServiceRole(spec) => self.roles.push(Source { object, spec }),
            Resource::ServiceRoleBinding(spec) => self.role_bindings.push(Source { object, spec }),
            Resource::RequestAuthentication(spec) => {
                self.request_authentications.push(Source { object, spec });
            }
            Resource::PeerAuthentication(spec) => {
                self.peer_authentications.push(Source { object, spec });
            }
            Resource::LegacyAuthentication(spec) => {
                self.legacy_authentications.push(Source { object, spec });
            }
            Resource::ConfigMap(map) => {
                if let Some(config) = &map.mesh_config {
                    self.mesh_configs.insert(0, config);
                }
            }
            Resource::MeshConfig(config) => self.mesh_configs.push(config),
            Resource::Namespace(_) => self.namespaces.push(object),
            _ => {}
        }
    }
}

impl Source<'_, Gateway> {
    /// Whether the Gateway is for this host's gateway. One of the Gateway API always is.
    pub(crate) fn is_served_here(&self, options: &Options) -> bool {
        let own = &options.gateway_labels;
        let mut selector = self.spec.selector.iter();
        matches!(self.object.resource, Resource::GatewayApiGateway(_))
            || selector.all(|(name, value)| own.get(name) == Some(value))
    }
}

impl<T> Source<'_, T> {
    pub(crate) fn namespace(&self) -> &str {
        &self.object.metadata.namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.object.metadata.name
    }

    pub(crate) fn reference(&self, kind: &'static str) -> ObjectRef {
        ObjectRef {
            kind,
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
            at: self.object.at.clone(),
        }
    }
}

/// The full name of a host in a resource: a name without a dot is a service of the
/// resource's namespace.
pub(crate) fn full_name(host: &str, namespace: &str, cluster_domain: &str) -> String {
    let host = crate::decide::host::canonical(host);
    if host.contains('.') || host.starts_with('*') {
        return host.into_owned();
    }
    format!("{host}.{namespace}.svc.{cluster_domain}")
}
