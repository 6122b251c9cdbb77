//! The content of status pages, collected when the snapshot is compiled.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use galleria_manifest::model::HttpRoute;

use super::clusters::Clusters;
use super::delegate::{BoundRoute, BoundVirtualService};
use super::ingress::DEFAULT_BACKEND;
use super::inventory::Inventory;
use super::rules::blocks;
use crate::decide::rule::Block;
use crate::{Cluster, DestinationStatus, RouteId, RouteStatus, RuleStatus, ServiceStatus};

pub(crate) fn services(clusters: &Clusters<'_>) -> Vec<ServiceStatus> {
    let mut made: BTreeMap<usize, Vec<Arc<Cluster>>> = BTreeMap::new();
    for (service, cluster) in clusters.made() {
        made.entry(service).or_default().push(Arc::clone(cluster));
    }
    let services = clusters
        .registry
        .services
        .iter()
        .enumerate()
        .map(|(number, service)| {
            let mut clusters = made.remove(&number).unwrap_or_default();
            clusters.sort_by(|a, b| (a.port, &a.name).cmp(&(b.port, &b.name)));
            ServiceStatus {
                fqdn: service.host.clone(),
                name: service.name.clone(),
                namespace: service.namespace.clone(),
                object: service.object.clone(),
                external: service.external,
                ports: service.ports.iter().map(|port| port.number).collect(),
                clusters,
            }
        });
    services.collect()
}

pub(crate) fn routes(
    bound: &[BoundVirtualService<'_>],
    inventory: &Inventory<'_>,
) -> Vec<RouteStatus> {
    let virtual_services = bound.iter().map(|bound| RouteStatus {
        object: (*bound.object).clone(),
        hosts: bound.hosts.clone(),
        gateways: bound.gateways.clone(),
        rules: bound
            .routes
            .iter()
            .map(|it| rule(&it.route, &it.object.namespace))
            .collect(),
    });
    let ingresses = inventory.ingresses.iter().map(|source| {
        let rules = source.spec.rules.iter();
        let paths = rules
            .clone()
            .flat_map(|rule| &rule.paths)
            .map(|path| RuleStatus {
                name: "default".into(),
                condition: format!("path {} ({:?})", path.path, path.path_type),
                action: "forward",
                destinations: vec![DestinationStatus {
                    host: path.backend.service_name.value.clone(),
                    subset: None,
                    port: match path.backend.service_port {
                        galleria_manifest::model::PortReference::Number(port) => Some(port),
                        galleria_manifest::model::PortReference::Name(_) => None,
                    },
                    weight: 100,
                }],
            });
        RouteStatus {
            object: source.reference("Ingress"),
            hosts: rules
                .map(|rule| {
                    rule.host
                        .as_ref()
                        .map_or_else(|| "*".into(), |it| it.value.clone())
                })
                .collect(),
            gateways: vec!["ingress".into()],
            rules: paths.collect(),
        }
    });
    virtual_services.chain(ingresses).collect()
}

/// The names of the rules of all objects.
pub(crate) fn route_ids(
    bound: &[BoundVirtualService<'_>],
    inventory: &Inventory<'_>,
) -> HashSet<RouteId> {
    let routes = bound.iter().flat_map(|bound| &bound.routes);
    let ingresses = inventory.ingresses.iter().flat_map(|source| {
        let object = source.reference("Ingress");
        let paths: usize = source.spec.rules.iter().map(|it| it.paths.len()).sum();
        let default = RouteId::new(&object, Some(DEFAULT_BACKEND), 0);
        let paths = (0..paths).map(move |index| RouteId::new(&object, None, index));
        paths.chain([default])
    });
    routes.map(BoundRoute::id).chain(ingresses).collect()
}

fn rule(route: &HttpRoute, namespace: &str) -> RuleStatus {
    let described: Vec<String> = route
        .matches
        .iter()
        .flat_map(|spec| {
            // A block is shown for every gateway.
            let mut spec = spec.clone();
            spec.gateways.clear();
            blocks(&[spec], namespace, "mesh", None)
        })
        .map(|block| describe(&block))
        .collect();
    let only = route.route.len() == 1;
    let destinations = route.route.iter().map(|it| DestinationStatus {
        host: it.destination.host.value.clone(),
        subset: it
            .destination
            .subset
            .as_ref()
            .map(|subset| subset.value.clone()),
        port: it.destination.port.as_ref().map(|port| port.value),
        weight: match &it.weight {
            _ if only => 100,
            Some(weight) => weight.value,
            None => 0,
        },
    });
    RuleStatus {
        name: route.name.clone().unwrap_or_else(|| "default".into()),
        condition: if described.is_empty() {
            "anything".into()
        } else {
            described.join(" or ")
        },
        action: if route.redirect.is_some() {
            "redirect"
        } else if route.direct_response.is_some() {
            "direct response"
        } else {
            "forward"
        },
        destinations: destinations.collect(),
    }
}

fn describe(block: &Block) -> String {
    let conditions = block.conditions.iter();
    let texts = conditions.map(|it| format!("{} {}", it.field(), it.expected()));
    let text = texts.collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        "anything".into()
    } else {
        text
    }
}
