//! The `nodePort` of Services of type NodePort and LoadBalancer.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::Value;

use crate::model::{Object, Resource};

/// The ports of a node that Services can have: the default of Kubernetes'
/// `--service-node-port-range`.
pub const NODE_PORTS: RangeInclusive<u16> = 30_000..=32_767;

/// Gives every port of these Services that needs a `nodePort` and has none a free one. A
/// Service gets the same ones each time, since they follow from its name.
pub fn assign_node_ports(objects: &mut [Arc<Object>]) {
    let mut used: BTreeSet<u16> = objects.iter().flat_map(|it| node_ports(&it.raw)).collect();
    for object in objects {
        if !matches!(object.resource, Resource::Service(_)) || !lacks_node_port(&object.raw) {
            continue;
        }
        let object = Arc::make_mut(object);
        complete_node_ports(&mut object.raw, &mut used);
        if let Resource::Service(service) = &mut object.resource {
            for (index, port) in service.ports.iter_mut().enumerate() {
                port.node_port = node_port(&object.raw["spec"]["ports"][index]);
            }
        }
    }
}

/// The node ports of an object, which has some if it is a Service.
pub fn node_ports(object: &Value) -> impl Iterator<Item = u16> + '_ {
    let is_service = object["kind"] == "Service" && object["apiVersion"] == "v1";
    let ports = object["spec"]["ports"].as_array().filter(|_| is_service);
    ports.into_iter().flatten().filter_map(node_port)
}

/// Gives the ports of one Service that need a node port and have none one that is not `used`,
/// and adds it to these.
pub fn complete_node_ports(service: &mut Value, used: &mut BTreeSet<u16>) {
    if !lacks_node_port(service) {
        return;
    }
    let metadata = &service["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let name = metadata["name"].as_str().unwrap_or_default();
    let service_name = format!("{namespace}/{name}");
    let ports = service["spec"]["ports"].as_array_mut();
    for port in ports.into_iter().flatten() {
        if node_port(port).is_none()
            && let Some(free) = free(&format!("{service_name}:{}", port["port"]), used)
        {
            port["nodePort"] = free.into();
        }
    }
}

/// Whether it is a Service that has a node port for each port.
pub fn needs_node_ports(service: &Value) -> bool {
    let spec = &service["spec"];
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

fn lacks_node_port(service: &Value) -> bool {
    let ports = service["spec"]["ports"].as_array();
    let mut ports = ports.into_iter().flatten();
    needs_node_ports(service) && ports.any(|port| port.is_object() && node_port(port).is_none())
}

/// The node port of a port; 0 is none.
fn node_port(port: &Value) -> Option<u16> {
    let number = u16::try_from(port["nodePort"].as_u64()?).ok();
    number.filter(|number| *number > 0)
}

/// The first unused port from the one that `name` hashes to; `None` if all are used.
fn free(name: &str, used: &mut BTreeSet<u16>) -> Option<u16> {
    // FNV-1a, since it must not change with the version of a library.
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let mut ports: Vec<u16> = NODE_PORTS.collect();
    let first = hash as usize % ports.len();
    ports.rotate_left(first);
    ports.into_iter().find(|port| used.insert(*port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(name: &str, ports: &Value) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "NodePort", "ports": ports},
        })
    }

    #[test]
    fn a_service_has_the_same_free_ports_each_time() {
        let mut used = BTreeSet::new();
        let mut first = service(
            "cart",
            &json!([{"port": 80}, {"port": 81, "nodePort": 30_080}]),
        );
        complete_node_ports(&mut first, &mut used);
        let ports: Vec<_> = node_ports(&first).collect();
        assert!(NODE_PORTS.contains(&ports[0]), "{ports:?}");
        assert_eq!(ports[1], 30_080);
        let mut again = service("cart", &json!([{"port": 80}]));
        complete_node_ports(&mut again, &mut BTreeSet::new());
        assert_eq!(node_ports(&again).next(), Some(ports[0]));
        let mut other = service("cart", &json!([{"port": 80}]));
        complete_node_ports(&mut other, &mut used);
        assert!(node_ports(&other).all(|port| !ports.contains(&port)));
    }

    #[test]
    fn no_port_is_given_twice_until_none_is_left() {
        let mut used = BTreeSet::new();
        let ports: Vec<_> = (1..=3_000).map(|port| json!({"port": port})).collect();
        let mut service = service("large", &Value::Array(ports));
        complete_node_ports(&mut service, &mut used);
        let given: BTreeSet<u16> = node_ports(&service).collect();
        assert_eq!(given.len(), NODE_PORTS.len());
        assert_eq!(given, used);
    }

    #[test]
    fn only_services_of_these_types_have_node_ports() {
        for spec in [
            json!({"ports": [{"port": 80}]}),
            json!({"type": "ClusterIP", "ports": [{"port": 80}]}),
            json!({
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": false,
                "ports": [{"port": 80}],
            }),
            json!({"type": "NodePort", "ports": 5}),
        ] {
            let mut service = service("cart", &json!([]));
            service["spec"] = spec.clone();
            complete_node_ports(&mut service, &mut BTreeSet::new());
            assert_eq!(service["spec"], spec);
        }
    }
}
