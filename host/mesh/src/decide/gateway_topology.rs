//! What is in front of the gateway, for each of its ports.

use std::collections::HashMap;

use galleria_manifest::model::GatewayTopology;

use crate::Snapshot;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct GatewayTopologies {
    /// Of ports that are not in `by_port`.
    pub(crate) of_mesh: GatewayTopology,
    /// By declared port.
    pub(crate) by_port: HashMap<u16, GatewayTopology>,
}

impl Snapshot {
    /// What is in front of the gateway on `port`, as declared.
    pub fn gateway_topology(&self, port: u16) -> &GatewayTopology {
        let topologies = &self.topologies;
        if topologies.by_port.is_empty() {
            return &topologies.of_mesh;
        }
        topologies.by_port.get(&port).unwrap_or(&topologies.of_mesh)
    }
}
