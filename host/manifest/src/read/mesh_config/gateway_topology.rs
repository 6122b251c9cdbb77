//! `defaultConfig.gatewayTopology`: the proxies in front of the gateway.

use crate::decode::{Decoder, Fields, integer};
use crate::yaml::Node;

/// More proxies than any request passes.
const PROXIES_MAX: u32 = 100;

/// `numTrustedProxies`. The other fields of `defaultConfig` configure proxies that the host does
/// not have.
pub(super) fn num_trusted_proxies(d: &mut Decoder, node: &Node) -> Option<u32> {
    let mut config = Fields::of(d, node)?;
    config.optional("gatewayTopology", |d, node| {
        let mut topology = Fields::of(d, node)?;
        let proxies = topology.optional("numTrustedProxies", integer(0..=PROXIES_MAX));
        topology.ignore(&["forwardClientCertDetails"]);
        topology.finish(&["proxyProtocol"]);
        proxies
    })
}
