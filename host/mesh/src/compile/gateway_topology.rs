//! The topology of each port: that of the first Gateway served here that declares the port, or
//! of the mesh.
//!
//! The host is one gateway for all Gateways, so a later Gateway of another owner must not
//! change what the port believes of its clients.

use std::collections::HashMap;

use galleria_manifest::model::GatewayTopology;
use galleria_manifest::{Diagnostic, Severity, codes};

use super::inventory::Inventory;
use crate::Options;
use crate::decide::gateway_topology::GatewayTopologies;

/// See the module's documentation.
pub(crate) fn compile(
    inventory: &Inventory<'_>,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> GatewayTopologies {
    let configs = inventory.mesh_configs.iter();
    let mut of_mesh = configs.filter_map(|config| config.gateway_topology.as_ref());
    let of_mesh = of_mesh.next().copied().unwrap_or_default();
    let mut first: HashMap<u16, Option<&GatewayTopology>> = HashMap::new();
    let gateways = inventory.gateways.iter();
    for source in gateways.filter(|source| source.is_served_here(options)) {
        let own = source.spec.topology.as_ref();
        for server in &source.spec.servers {
            let used = *first.entry(server.port.value).or_insert(own);
            if own.is_none() || own == used {
                continue;
            }
            diagnostics.push(Diagnostic {
                at: server.at.clone(),
                severity: Severity::Warning,
                object: Some(format!("Gateway/{}", source.name())),
                path: "metadata.annotations".to_owned(),
                message: format!(
                    "proxy.istio.io/config has no effect on port {}: another Gateway has declared \
                     the port first",
                    server.port
                ),
                code: codes::NOT_HONOURED,
                unenforced: None,
            });
        }
    }
    let by_port = first.into_iter();
    let by_port = by_port.filter_map(|(port, own)| Some((port, merged(own?, &of_mesh))));
    GatewayTopologies {
        by_port: by_port.collect(),
        of_mesh,
    }
}

/// As in Istio, a field that the annotation does not set is that of the mesh.
fn merged(own: &GatewayTopology, of_mesh: &GatewayTopology) -> GatewayTopology {
    GatewayTopology {
        num_trusted_proxies: own.num_trusted_proxies.or(of_mesh.num_trusted_proxies),
        forward_client_cert_details: own
            .forward_client_cert_details
            .or(of_mesh.forward_client_cert_details),
        proxy_protocol: own.proxy_protocol || of_mesh.proxy_protocol,
    }
}
