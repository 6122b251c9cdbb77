//! Which addresses servers outside the mesh may have.

use galleria_mesh::inbound::network::NetworkPolicies;
use galleria_mesh::{Options, OutboundPolicy, RefusedAddress};

use crate::world::{World, istio, services};

const PORT: &str = "  ports: [{number: 80, name: http, protocol: HTTP}]\n";

const NETWORKS: &str = "addresses: [10.1.0.0/16, 169.254.169.254/32, 'fd00::/8']";

fn entry(name: &str, hosts: &str, rest: &str) -> String {
    let spec = format!("  hosts: [{hosts}]\n  location: MESH_EXTERNAL\n{PORT}  {rest}");
    istio("ServiceEntry", "shop", name, &spec)
}

fn world(policy: OutboundPolicy) -> World {
    let yaml = services(&[("shop", "ui")])
        + &entry("name", "name.example.com", "resolution: DNS")
        + &entry("none", "none.example.com", "resolution: NONE")
        + &entry("wild", "'*.wild.example.com'", "resolution: DYNAMIC_DNS")
        + &entry("local", "localhost", "resolution: DNS")
        + &entry(
            "static",
            "static.example.com",
            "resolution: STATIC\n  endpoints: [{address: 127.0.0.1}]",
        )
        + &entry(
            "named",
            "named.example.com",
            "resolution: DNS\n  endpoints: [{address: db.internal}]",
        )
        + &entry(
            "address",
            "address.example.com",
            "resolution: NONE\n  addresses: [10.7.7.7]",
        )
        + &entry(
            "networks",
            "networks.example.com",
            &format!("resolution: DNS\n  {NETWORKS}"),
        )
        + &entry(
            "wild-networks",
            "'*.networks.example.com'",
            &format!("resolution: NONE\n  {NETWORKS}"),
        );
    let options = Options {
        outbound_policy: policy,
        private_networks: vec!["192.168.7.0/24".parse().expect("a network")],
        ..Options::default()
    };
    World::with_options(&yaml, options).pods("shop", "ui", &[("app", "ui")], 1)
}

/// Whether a request for `url` may be sent to `address`, which `host` resolves to.
fn allowed(policy: OutboundPolicy, url: &str, host: &str, address: &str) -> bool {
    let mut world = world(policy);
    let sent = world.from("shop", "ui", url).send().sent();
    let cluster = &sent.forward.cluster;
    let rules = cluster.address_rules(sent.endpoint(), host, 80, &NetworkPolicies::default());
    let ip = address.parse().expect("an address");
    match rules.check(ip) {
        Ok(()) => true,
        Err(refused) => {
            assert_eq!(refused, RefusedAddress::NotPublic(ip), "{url}");
            false
        }
    }
}

#[test]
fn manifests_decide_which_addresses_a_name_may_have() {
    for (host, public, private, local) in [
        ("name.example.com", true, true, false),
        ("NAME.example.com.", true, true, false),
        ("none.example.com", true, true, false),
        ("a.wild.example.com", true, false, false),
        ("localhost", true, true, true),
        ("networks.example.com", true, true, true),
        ("a.networks.example.com", true, true, true),
        ("10.7.7.7", true, false, false),
    ] {
        let url = format!("http://{host}/");
        for (address, expected) in [
            ("203.0.113.7", public),
            ("10.1.2.3", private),
            ("169.254.169.254", local),
        ] {
            let found = allowed(OutboundPolicy::RegistryOnly, &url, host, address);
            assert_eq!(found, expected, "{host} at {address}");
        }
    }
    for (url, host, address, expected) in [
        ("http://static.example.com/", "127.0.0.1", "127.0.0.1", true),
        ("http://10.7.7.7/", "10.7.7.7", "10.7.7.7", true),
        ("http://named.example.com/", "db.internal", "10.1.2.3", true),
        (
            "http://named.example.com/",
            "db.internal",
            "127.0.0.1",
            false,
        ),
        (
            "http://a.networks.example.com/",
            "a.networks.example.com",
            "10.2.0.1",
            false,
        ),
        (
            "http://a.networks.example.com/",
            "a.networks.example.com",
            "fd00::1",
            true,
        ),
        (
            "http://a.wild.example.com/",
            "a.wild.example.com",
            "192.168.7.9",
            true,
        ),
        (
            "http://a.wild.example.com/",
            "a.wild.example.com",
            "192.168.8.9",
            false,
        ),
        (
            "http://name.example.com/",
            "other.example.com",
            "10.1.2.3",
            true,
        ),
        (
            "http://none.example.com/",
            "other.example.com",
            "10.1.2.3",
            false,
        ),
    ] {
        let found = allowed(OutboundPolicy::RegistryOnly, url, host, address);
        assert_eq!(found, expected, "{url} at {address}");
    }
}

#[test]
fn undeclared_destinations_are_public_only() {
    for (host, address, expected) in [
        ("anything.example.net", "203.0.113.7", true),
        ("anything.example.net", "10.1.2.3", false),
        ("anything.example.net", "192.168.7.3", true),
        ("203.0.113.7", "203.0.113.7", true),
        ("10.1.2.3", "10.1.2.3", false),
        ("127.0.0.1", "127.0.0.1", false),
        ("169.254.169.254", "169.254.169.254", false),
        ("[::1]", "::1", false),
        ("[2001:db8::7]", "2001:db8::7", true),
        ("metadata", "169.254.169.254", false),
    ] {
        let url = format!("http://{host}/");
        let found = allowed(OutboundPolicy::AllowAny, &url, host, address);
        assert_eq!(found, expected, "{host} at {address}");
    }
}
