//! NetworkPolicy.
//!
//! An unknown field is an error here: without the field, the rule around it would allow
//! more than its author wrote.

use std::net::IpAddr;

use ipnet::IpNet;

use super::selector;
use crate::decode::{Decoder, Fields, choice, items, located, port, port_reference, string};
use crate::model::{
    IpBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicyRule, PodPeer,
    PolicyPort, PortReference, Resource, TransportProtocol,
};
use crate::yaml::Node;
use crate::{WithPosition, codes};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    Ingress,
    Egress,
}

pub(crate) fn read(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let policy = fields.required("spec", spec);
    fields.finish(&[]);
    policy.map(Resource::NetworkPolicy)
}

fn spec(d: &mut Decoder, node: &Node) -> Option<NetworkPolicy> {
    let mut spec = Fields::of(d, node)?;
    let pod_selector = spec.required("podSelector", located(selector::strict));
    let types = spec.list("policyTypes", |d, node| {
        let names = [
            ("Ingress", Direction::Ingress),
            ("Egress", Direction::Egress),
        ];
        choice(d, node, "a policy type", &names)
    });
    let ingress = spec.list("ingress", |d, node| rule(d, node, "from"));
    let egress = spec.list("egress", |d, node| rule(d, node, "to"));
    let (governs_ingress, governs_egress) = match types.as_slice() {
        [] => (true, !egress.is_empty()),
        types => (
            types.contains(&Direction::Ingress),
            types.contains(&Direction::Egress),
        ),
    };
    for (name, kind, governs, rules) in [
        ("ingress", "Ingress", governs_ingress, &ingress),
        ("egress", "Egress", governs_egress, &egress),
    ] {
        if governs || !spec.has(name) {
            continue;
        }
        let message = match rules.as_slice() {
            [] if types.is_empty() => format!(
                "an empty list restricts nothing without `policyTypes`; add `policyTypes: [{kind}]`"
            ),
            _ => format!("has no effect, since `policyTypes` does not contain {kind}"),
        };
        spec.warn_at(name, codes::NETWORK_POLICY, message);
    }
    spec.finish_strictly();
    Some(NetworkPolicy {
        pod_selector: pod_selector?,
        ingress: governs_ingress.then_some(ingress),
        egress: governs_egress.then_some(egress),
    })
}

fn rule(d: &mut Decoder, node: &Node, peers: &'static str) -> Option<NetworkPolicyRule> {
    let mut rule = Fields::of(d, node)?;
    let peers = rule.list(peers, peer);
    let ports = rule.optional("ports", ports).unwrap_or_default();
    rule.finish_strictly();
    Some(NetworkPolicyRule { peers, ports })
}

fn peer(d: &mut Decoder, node: &Node) -> Option<NetworkPolicyPeer> {
    let mut fields = Fields::of(d, node)?;
    let pod_selector = fields.optional("podSelector", located(selector::strict));
    let namespace_selector = fields.optional("namespaceSelector", located(selector::strict));
    let has_selector = fields.has("podSelector") || fields.has("namespaceSelector");
    let has_block = fields.has("ipBlock");
    let block = fields.optional("ipBlock", ip_block);
    if has_block && has_selector {
        let message =
            "cannot be combined with a selector; write it as an entry of its own".to_owned();
        fields.error_at("ipBlock", codes::EXCLUSIVE_FIELDS, message);
    }
    if !has_block && !has_selector {
        let message = "selects nothing; set `podSelector`, `namespaceSelector` or `ipBlock`";
        let mark = fields.mark;
        fields.d.error(mark, codes::MISSING_FIELD, message);
    }
    fields.finish_strictly();
    if has_block {
        return block.map(NetworkPolicyPeer::Block);
    }
    Some(NetworkPolicyPeer::Pods(PodPeer {
        pod_selector,
        namespace_selector,
    }))
}

fn ip_block(d: &mut Decoder, node: &Node) -> Option<IpBlock> {
    let mut fields = Fields::of(d, node)?;
    let cidr = fields.required("cidr", network);
    let except = fields.list("except", |d, node| {
        let except = network(d, node)?;
        if let Some(cidr) = cidr
            && (!cidr.contains(&except) || cidr == except)
        {
            let message = format!("{except} must be a part of {cidr}, and not all of it");
            d.error(node.mark, codes::INVALID_VALUE, message);
            return None;
        }
        Some(except)
    });
    fields.finish_strictly();
    Some(IpBlock {
        cidr: cidr?,
        except,
    })
}

/// A network in CIDR notation. As in a cluster, bits after the prefix have no effect.
fn network(d: &mut Decoder, node: &Node) -> Option<IpNet> {
    let text = string(d, node)?;
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(network.trunc());
    }
    let shown = d.show(&text);
    let cure = match text.parse::<IpAddr>() {
        Ok(address) => format!("write `{}`", IpNet::from(address)),
        Err(_) => "write an address and its prefix length, such as `10.0.0.0/24`".to_owned(),
    };
    let message = format!("{shown} is not a network; {cure}");
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn ports(d: &mut Decoder, node: &Node) -> Option<Vec<NetworkPolicyPort>> {
    let ports = items(d, node, policy_port)?;
    let other = ports
        .iter()
        .find(|port| port.protocol != TransportProtocol::Tcp);
    if let Some(other) = other
        && ports
            .iter()
            .all(|port| port.protocol != TransportProtocol::Tcp)
    {
        let message = format!(
            "the rule matches nothing here: components speak HTTP over TCP, not {}",
            other.protocol.name()
        );
        d.warning(node.mark, codes::NETWORK_POLICY, message);
    }
    Some(ports)
}

fn policy_port(d: &mut Decoder, node: &Node) -> Option<NetworkPolicyPort> {
    let mut fields = Fields::of(d, node)?;
    let protocol = fields.optional("protocol", |d, node| {
        let protocols = [
            ("TCP", TransportProtocol::Tcp),
            ("UDP", TransportProtocol::Udp),
            ("SCTP", TransportProtocol::Sctp),
        ];
        choice(d, node, "a protocol", &protocols)
    });
    let has_port = fields.has("port");
    let first = fields.optional("port", located(port_reference));
    let last = fields.optional("endPort", port);
    let has_last = fields.has("endPort");
    if has_last && !matches!(&first, Some(first) if matches!(first.value, PortReference::Number(_)))
    {
        let message = "needs a number in `port`".to_owned();
        fields.error_at("endPort", codes::EXCLUSIVE_FIELDS, message);
    }
    let port = match first {
        None if has_port => None,
        None => Some(PolicyPort::Any),
        Some(WithPosition { value, at }) => Some(match value {
            PortReference::Name(name) => PolicyPort::Name(WithPosition::new(name, at)),
            PortReference::Number(first) => {
                let last = last.unwrap_or(first);
                if last < first {
                    let message = format!("{last} is less than `port`, which is {first}");
                    fields.error_at("endPort", codes::INVALID_VALUE, message);
                }
                PolicyPort::Range(first, last)
            }
        }),
    };
    fields.finish_strictly();
    Some(NetworkPolicyPort {
        protocol: protocol.unwrap_or(TransportProtocol::Tcp),
        port: port?,
    })
}
