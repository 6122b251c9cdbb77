//! PeerAuthentication, and the Policy and MeshPolicy of Istio 1.2: which callers must prove
//! who they are.

#![expect(clippy::too_many_lines, reason = "each test is one table")]

use std::net::{IpAddr, Ipv4Addr};

use galleria_mesh::inbound::peer::{self, Connection};
use galleria_mesh::inbound::{InboundRequest, Peer};
use galleria_mesh::{RequestHead, ResponseFlags};
use http::{HeaderMap, Method};

use crate::world::{World, services};

fn policy(name: &str, namespace: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: security.istio.io/v1, kind: PeerAuthentication, \
         metadata: {{name: {name}, namespace: {namespace}}}, spec: {{{spec}}}}}\n---\n"
    )
}

fn legacy(name: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: authentication.istio.io/v1alpha1, kind: Policy, \
         metadata: {{name: {name}, namespace: shop}}, spec: {{{spec}}}}}\n---\n"
    )
}

fn mesh_policy(spec: &str) -> String {
    format!(
        "{{apiVersion: authentication.istio.io/v1alpha1, kind: MeshPolicy, \
         metadata: {{name: default}}, spec: {{{spec}}}}}\n---\n"
    )
}

fn world(yaml: &str) -> World {
    World::new(&(services(&[("shop", "app")]) + yaml)).pods("shop", "app", &[("app", "app")], 1)
}

/// `ok`, or what the log says.
fn answer(world: &World, port: u16, peer: &Peer, connection: Connection) -> String {
    let destination = world.workload("shop/app");
    let Some(policies) = world.snapshot.inbound_policies(&destination) else {
        return "ok".to_owned();
    };
    let headers = HeaderMap::new();
    let request = InboundRequest {
        destination: &destination,
        port,
        peer,
        head: RequestHead {
            method: &Method::GET,
            scheme: "http",
            authority: "app.shop",
            path: "/",
            query: None,
            headers: &headers,
            source_ip: None,
        },
        principal: None,
    };
    match peer::decide(policies, &request, connection) {
        Ok(()) => "ok".to_owned(),
        Err(reply) => {
            assert_eq!(
                (reply.status.as_u16(), reply.flags),
                (503, ResponseFlags::UC)
            );
            assert!(
                reply
                    .body
                    .ends_with(b"reset reason: connection termination")
            );
            reply.details.into_owned()
        }
    }
}

fn unknown(world: &World, port: u16) -> String {
    answer(world, port, &Peer::Unknown, Connection::Automatic)
}

const STRICT: &str = "mtls: {mode: STRICT}";
const PERMISSIVE: &str = "mtls: {mode: PERMISSIVE}";
const APP: &str = "selector: {matchLabels: {app: app}}";

#[test]
fn most_specific_mode_counts() {
    let app = |mode: &str| format!("{APP}, {mode}");
    let ports = |modes: &str| format!("{APP}, {STRICT}, portLevelMtls: {{{modes}}}");
    let unset = "mtls: {mode: UNSET}";
    let rows: &[(&str, String, &str)] = &[
        ("no policy", String::new(), "ok"),
        (
            "mesh",
            policy("default", "istio-system", STRICT),
            "istio-system/default",
        ),
        (
            "namespace",
            policy("default", "shop", STRICT),
            "shop/default",
        ),
        ("another namespace", policy("default", "bank", STRICT), "ok"),
        ("workload", policy("app", "shop", &app(STRICT)), "shop/app"),
        (
            "another workload",
            policy(
                "app",
                "shop",
                &format!("selector: {{matchLabels: {{app: db}}}}, {STRICT}"),
            ),
            "ok",
        ),
        ("permissive", policy("default", "shop", PERMISSIVE), "ok"),
        (
            "disabled",
            policy("default", "shop", "mtls: {mode: DISABLE}"),
            "ok",
        ),
        ("unset", policy("default", "shop", unset), "ok"),
        ("no spec field", policy("default", "shop", ""), "ok"),
        (
            "namespace beats mesh",
            policy("m", "istio-system", STRICT) + &policy("n", "shop", PERMISSIVE),
            "ok",
        ),
        (
            "workload beats namespace",
            policy("n", "shop", STRICT) + &policy("w", "shop", &app(PERMISSIVE)),
            "ok",
        ),
        (
            "workload beats mesh",
            policy("m", "istio-system", PERMISSIVE) + &policy("w", "shop", &app(STRICT)),
            "shop/w",
        ),
        (
            "unset inherits from the mesh",
            policy("m", "istio-system", STRICT) + &policy("n", "shop", unset),
            "istio-system/m",
        ),
        (
            "unset inherits from the namespace",
            policy("n", "shop", STRICT) + &policy("w", "shop", &app(unset)),
            "shop/n",
        ),
        (
            "oldest of a namespace",
            policy("one", "shop", STRICT) + &policy("two", "shop", PERMISSIVE),
            "shop/one",
        ),
        (
            "oldest for a workload",
            policy("one", "shop", &app(PERMISSIVE)) + &policy("two", "shop", &app(STRICT)),
            "ok",
        ),
        (
            "selector in the root namespace selects nothing",
            policy("w", "istio-system", &app(STRICT)),
            "ok",
        ),
        (
            "port open",
            policy("w", "shop", &ports("8080: {mode: PERMISSIVE}")),
            "ok",
        ),
        (
            "another port open",
            policy("w", "shop", &ports("9090: {mode: PERMISSIVE}")),
            "shop/w",
        ),
        (
            "port inherits",
            policy("w", "shop", &ports("8080: {mode: UNSET}")),
            "shop/w",
        ),
        (
            "only the port",
            policy(
                "w",
                "shop",
                &format!("{APP}, portLevelMtls: {{8080: {{mode: STRICT}}}}"),
            ),
            "shop/w",
        ),
    ];
    for (name, yaml, expected) in rows {
        let expected = match *expected {
            "ok" => "ok".to_owned(),
            policy => format!("peer_authentication_strict{{{policy}}}"),
        };
        assert_eq!(unknown(&world(yaml), 8080), expected, "{name}");
    }
}

#[test]
fn identity_and_connection_decide() {
    let strict = world(&policy("default", "shop", STRICT));
    let disabled = world(&policy("default", "shop", "mtls: {mode: DISABLE}"));
    let permissive = world(&policy("default", "shop", PERMISSIVE));
    let app = strict.workload("shop/app");
    let client = Peer::Client {
        listener_port: 80,
        ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let named = "workload bank/till till".parse().expect("a peer");
    let sidecar = Peer::of_account("bank", "till");
    let refused = "peer_authentication_strict{shop/default}";
    let plain_only = "peer_authentication_disabled{shop/default}";
    use Connection::{Automatic, MutualTls, PlainText};
    for (name, world, peer, connection, expected) in [
        (
            "workload",
            &strict,
            &Peer::Workload(app.clone()),
            Automatic,
            "ok",
        ),
        (
            "workload, ISTIO_MUTUAL",
            &strict,
            &Peer::Workload(app.clone()),
            MutualTls,
            "ok",
        ),
        (
            "workload, DISABLE",
            &strict,
            &Peer::Workload(app.clone()),
            PlainText,
            refused,
        ),
        ("workload of another host", &strict, &named, Automatic, "ok"),
        ("sidecar", &strict, &sidecar, Automatic, "ok"),
        ("claim of a host", &strict, &named, PlainText, refused),
        (
            "client of a host in plain text",
            &strict,
            &client.unproven(),
            PlainText,
            refused,
        ),
        (
            "client behind the gateway",
            &strict,
            &client,
            Automatic,
            "ok",
        ),
        ("gateway, DISABLE", &strict, &client, PlainText, refused),
        ("nobody", &strict, &Peer::Unknown, Automatic, refused),
        (
            "nobody, ISTIO_MUTUAL",
            &strict,
            &Peer::Unknown,
            MutualTls,
            refused,
        ),
        (
            "plain text server",
            &disabled,
            &Peer::Workload(app.clone()),
            Automatic,
            "ok",
        ),
        (
            "plain text both",
            &disabled,
            &Peer::Workload(app.clone()),
            PlainText,
            "ok",
        ),
        (
            "plain text server, ISTIO_MUTUAL",
            &disabled,
            &Peer::Workload(app),
            MutualTls,
            plain_only,
        ),
        (
            "permissive, plain text",
            &permissive,
            &client,
            PlainText,
            "ok",
        ),
        (
            "permissive, nobody",
            &permissive,
            &Peer::Unknown,
            Automatic,
            "ok",
        ),
    ] {
        assert_eq!(answer(world, 8080, peer, connection), expected, "{name}");
    }
}

#[test]
fn port_speaks_mutual_tls_and_plain_text_as_its_mode_says() {
    let ports =
        "portLevelMtls: {8081: {mode: DISABLE}, 8082: {mode: PERMISSIVE}, 8083: {mode: UNSET}}";
    let yaml = policy("app", "shop", &format!("{APP}, {STRICT}, {ports}"));
    let world = world(&yaml);
    let destination = world.workload("shop/app");
    let policies = world.snapshot.inbound_policies(&destination);
    let policies = policies.expect("a policy");
    for (port, speaks, strict) in [
        (8080, true, Some("shop/app")),
        (8081, false, None),
        (8082, true, None),
        (8083, true, Some("shop/app")),
    ] {
        assert_eq!(peer::speaks_mutual_tls(policies, port), speaks, "{port}");
        assert_eq!(peer::strict_policy(policies, port), strict, "{port}");
    }
}

#[test]
fn policies_of_istio_1_2_count() {
    let mtls = "peers: [{mtls: {}}]";
    let targets = "targets: [{name: app}], peers: [{mtls: {}}]";
    let open = "targets: [{name: app, ports: [{number: 80}]}]";
    let rows: &[(&str, String, &str)] = &[
        ("mesh", mesh_policy(mtls), "default"),
        (
            "mtls is null",
            mesh_policy("peers: [{mtls: null}]"),
            "default",
        ),
        (
            "permissive mesh",
            mesh_policy("peers: [{mtls: {mode: PERMISSIVE}}]"),
            "ok",
        ),
        ("mesh without peers", mesh_policy(""), "ok"),
        ("namespace", legacy("default", mtls), "shop/default"),
        (
            "optional",
            legacy("default", "peers: [{mtls: {}}], peerIsOptional: true"),
            "ok",
        ),
        (
            "namespace without peers replaces mesh",
            mesh_policy(mtls) + &legacy("default", "origins: []"),
            "ok",
        ),
        ("service", legacy("app", targets), "shop/app"),
        (
            "another service",
            legacy("db", "targets: [{name: db}], peers: [{mtls: {}}]"),
            "ok",
        ),
        (
            "service replaces namespace",
            legacy("default", mtls) + &legacy("app", open),
            "ok",
        ),
        (
            "another port of the service",
            legacy("default", mtls)
                + &legacy("app", "targets: [{name: app, ports: [{number: 81}]}]"),
            "shop/default",
        ),
        (
            "today's policy replaces it",
            legacy("default", mtls) + &policy("default", "shop", PERMISSIVE),
            "ok",
        ),
        (
            "today's policy elsewhere does not",
            legacy("default", mtls) + &policy("default", "bank", PERMISSIVE),
            "shop/default",
        ),
    ];
    for (name, yaml, expected) in rows {
        let expected = match *expected {
            "ok" => "ok".to_owned(),
            policy => format!("peer_authentication_strict{{{policy}}}"),
        };
        let world = world(yaml);
        assert_eq!(unknown(&world, 8080), expected, "{name}");
        let replaced = world.diagnostics.iter().any(|it| it.contains("GAL0604"));
        assert_eq!(replaced, *name == "today's policy replaces it", "{name}");
    }
}

#[test]
fn listings_of_the_deck_work_as_written() {
    for (name, yaml, expected) in [
        (
            "policy-mtls-namespace",
            include_str!("../../../manifest/tests/deck/policy-mtls-namespace.yaml"),
            "shoppingportal/default",
        ),
        (
            "meshpolicy-mtls",
            include_str!("../../../manifest/tests/deck/meshpolicy-mtls.yaml"),
            "default",
        ),
    ] {
        let world = World::new(yaml).pods("shoppingportal", "app", &[("app", "app")], 1);
        let destination = world.workload("shoppingportal/app");
        assert!(
            world.snapshot.inbound_policies(&destination).is_some(),
            "{name}: {expected}"
        );
    }
}
