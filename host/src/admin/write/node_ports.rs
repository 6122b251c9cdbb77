//! The node ports of a Service: chosen when a client leaves them out, and kept as long as its
//! type needs them.

use std::collections::BTreeSet;

use galleria_manifest::{complete_node_ports, needs_node_ports, node_ports};
use serde_json::Value;

use crate::admin::Api;
use crate::admin::failure::{Cause, Failure};
use crate::admin::path::Resource;

impl Api {
    /// Gives the ports of a Service the node ports that they need. `before` is the Service
    /// until now, if it exists: it keeps its own, by the names of the ports.
    ///
    /// # Errors
    /// Another Service has one of the node ports.
    pub(super) fn assign_node_ports(
        &self,
        resource: &Resource,
        before: Option<&Value>,
        object: &mut Value,
    ) -> Result<(), Failure> {
        if !resource.kind.group.is_empty() || resource.kind.kind != "Service" {
            return Ok(());
        }
        if let Some(before) = before {
            match needs_node_ports(object) {
                true => keep(before, object),
                false => drop_kept(before, object),
            }
        }
        let own = &object["metadata"]["name"];
        let (all, _) = self.store.list();
        let others = all.iter().filter(|it| {
            let metadata = &it.object.metadata;
            let is_own = Some(metadata.name.value.as_str()) == own.as_str()
                && Some(metadata.namespace.as_str()) == resource.namespace.as_deref();
            it.object.kind == "Service" && !is_own
        });
        let mut used: BTreeSet<u16> = others.flat_map(|it| node_ports(&it.object.raw)).collect();
        let ports = object["spec"]["ports"].as_array();
        let mut taken = ports
            .into_iter()
            .flatten()
            .enumerate()
            .filter_map(|(index, port)| {
                let number = u16::try_from(port["nodePort"].as_u64()?).ok()?;
                used.contains(&number).then_some((index, number))
            });
        if let Some((index, number)) = taken.next() {
            let message = format!(
                "Invalid value: {number}: provided port is already allocated; leave it out to get one"
            );
            return Err(Failure::Invalid {
                kind: resource.kind,
                name: own.as_str().unwrap_or_default().to_owned(),
                causes: vec![Cause::invalid(
                    &format!("spec.ports[{index}].nodePort"),
                    message,
                )],
            });
        }
        used.extend(own_ports(object));
        complete_node_ports(object, &mut used);
        Ok(())
    }
}

fn own_ports(service: &Value) -> Vec<u16> {
    let ports = service["spec"]["ports"].as_array();
    let numbers = ports
        .into_iter()
        .flatten()
        .map(|port| port["nodePort"].as_u64());
    numbers
        .flatten()
        .filter_map(|it| u16::try_from(it).ok())
        .collect()
}

/// Ports without a node port keep that of the port with their name, if no other port has it.
fn keep(before: &Value, object: &mut Value) {
    let mut used = own_ports(object);
    let known = before["spec"]["ports"].as_array();
    let ports = object["spec"]["ports"].as_array_mut();
    for port in ports.into_iter().flatten() {
        if port["nodePort"].as_u64().is_some_and(|it| it > 0) {
            continue;
        }
        let mut known = known.into_iter().flatten();
        let same = known.find(|it| it["name"] == port["name"]);
        let number = same.and_then(|it| u16::try_from(it["nodePort"].as_u64()?).ok());
        if let Some(number) = number.filter(|it| !used.contains(it)) {
            port["nodePort"] = number.into();
            used.push(number);
        }
    }
}

/// A Service that no longer needs node ports loses those that the client has left as they
/// were.
fn drop_kept(before: &Value, object: &mut Value) {
    if !needs_node_ports(before) || own_ports(before) != own_ports(object) {
        return;
    }
    let ports = object["spec"]["ports"].as_array_mut();
    for port in ports.into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_port_keeps_its_node_port_by_name() {
        let of = |kind: &str, ports: Value| json!({"spec": {"type": kind, "ports": ports}});
        let before = of(
            "NodePort",
            json!([{"name": "a", "port": 1, "nodePort": 30_001}, {"name": "b", "port": 2, "nodePort": 30_002}]),
        );
        let mut object = of(
            "NodePort",
            json!([{"name": "b", "port": 3}, {"name": "c", "port": 1}]),
        );
        keep(&before, &mut object);
        assert_eq!(own_ports(&object), [30_002]);
        let mut given = of(
            "NodePort",
            json!([{"name": "c", "nodePort": 30_001}, {"name": "a"}]),
        );
        keep(&before, &mut given);
        assert_eq!(own_ports(&given), [30_001]);
    }

    #[test]
    fn a_service_that_needs_no_node_ports_loses_them() {
        let mut object = json!({"spec": {"type": "ClusterIP", "ports": [{"nodePort": 30_001}]}});
        let mut before = object.clone();
        before["spec"]["type"] = json!("NodePort");
        drop_kept(&before, &mut object);
        assert!(own_ports(&object).is_empty());
        let mut changed = json!({"spec": {"ports": [{"nodePort": 30_002}]}});
        drop_kept(&before, &mut changed);
        assert_eq!(own_ports(&changed), [30_002]);
    }
}
