//! Random policies and requests: the mesh against a naive evaluator, written from Istio's
//! reference and reading the manifest as JSON. It shares no code with the mesh.

use std::net::IpAddr;
use std::path::Path;

use galleria_mesh::inbound::Peer;
use proptest::prelude::*;
use serde_json::Value;

use super::{Asked, mesh, policy};

/// The rule of Istio: DENY, then ALLOW.
fn expected(policies: &[Value], asked: &Asked) -> bool {
    let of = |action: &str| {
        let action = action.to_owned();
        policies.iter().filter(move |spec| {
            spec.get("action")
                .and_then(Value::as_str)
                .unwrap_or("ALLOW")
                == action
        })
    };
    if of("DENY").any(|spec| matches(spec, asked)) {
        return false;
    }
    of("ALLOW").next().is_none() || of("ALLOW").any(|spec| matches(spec, asked))
}

fn matches(spec: &Value, asked: &Asked) -> bool {
    list(spec, "rules").iter().any(|rule| {
        let from = list(rule, "from");
        let to = list(rule, "to");
        (from.is_empty() || from.iter().any(|it| source(&it["source"], asked)))
            && (to.is_empty() || to.iter().any(|it| operation(&it["operation"], asked)))
            && list(rule, "when").iter().all(|it| condition(it, asked))
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// A field and its negation.
fn field(object: &Value, name: &str, has: impl Fn(&str) -> bool) -> bool {
    let not_name = format!("not{}{}", name[..1].to_uppercase(), &name[1..]);
    let any = |name: &str| {
        list(object, name)
            .iter()
            .any(|it| has(it.as_str().expect("text")))
    };
    (list(object, name).is_empty() || any(name)) && !any(&not_name)
}

fn source(object: &Value, asked: &Asked) -> bool {
    field(object, "principals", |value| principal(value, asked))
        && field(object, "namespaces", |value| namespace(value, asked))
        && field(object, "ipBlocks", |value| {
            asked.source_ip.is_some_and(|ip| in_block(value, ip))
        })
        && field(object, "requestPrincipals", |value| {
            asked.principal.as_ref().is_some_and(|it| {
                let name = format!("{}/{}", it.issuer, it.subject);
                text(value, &name)
            })
        })
}

fn operation(object: &Value, asked: &Asked) -> bool {
    field(object, "hosts", |value| {
        text(&value.to_lowercase(), &asked.authority.to_lowercase())
    }) && field(object, "methods", |value| {
        text(value, asked.method.as_str())
    }) && field(object, "paths", |value| {
        if value.contains('{') {
            template(value, &asked.path)
        } else {
            text(value, &asked.path)
        }
    }) && field(object, "ports", |value| value == asked.port.to_string())
}

fn condition(object: &Value, asked: &Asked) -> bool {
    let key = object["key"].as_str().expect("text");
    let header = |name: &str, value: &str| {
        let actual = asked.headers.get(name).map(|it| it.to_str().expect("text"));
        actual.is_some_and(|actual| value == "*" || text(value, actual))
    };
    field(object, "values", |value| match key {
        "source.namespace" => namespace(value, asked),
        "source.principal" => principal(value, asked),
        "destination.port" => value == asked.port.to_string(),
        "request.headers[x]" => header("x", value),
        "request.auth.claims[group]" => {
            let claim = asked
                .principal
                .as_ref()
                .and_then(|it| it.claims.get("group"));
            match claim {
                Some(Value::String(it)) => text(value, it),
                Some(Value::Array(all)) => {
                    all.iter().any(|it| text(value, it.as_str().expect("text")))
                }
                _ => false,
            }
        }
        other => unreachable!("{other}"),
    })
}

fn text(pattern: &str, actual: &str) -> bool {
    if pattern == "*" {
        return !actual.is_empty();
    }
    if let Some(suffix) = pattern.strip_prefix('*') {
        return actual.ends_with(suffix);
    }
    match pattern.strip_suffix('*') {
        Some(prefix) => actual.starts_with(prefix),
        None => actual == pattern,
    }
}

fn account(asked: &Asked) -> Option<(String, String)> {
    match &asked.peer {
        Peer::Named(it) => Some((it.namespace.clone(), it.service_account.clone())),
        Peer::Client { .. } => Some((
            "istio-system".into(),
            "istio-ingressgateway-service-account".into(),
        )),
        _ => None,
    }
}

fn principal(pattern: &str, asked: &Asked) -> bool {
    account(asked).is_some_and(|(ns, sa)| text(pattern, &format!("cluster.local/ns/{ns}/sa/{sa}")))
}

fn namespace(pattern: &str, asked: &Asked) -> bool {
    account(asked).is_some_and(|(ns, _)| text(pattern, &ns))
}

fn in_block(block: &str, ip: IpAddr) -> bool {
    let (network, length) = block.split_once('/').unwrap_or((block, "32"));
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(_) => unreachable!("only IPv4 here"),
    };
    let length: u32 = length.parse().expect("a length");
    let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
    bits(ip) & mask == bits(network.parse().expect("an address")) & mask
}

/// By segments, without a regular expression.
fn template(pattern: &str, path: &str) -> bool {
    fn segments(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["{**}", rest @ ..] => (1..=path.len()).any(|taken| segments(rest, &path[taken..])),
            ["{*}", rest @ ..] => {
                path.first().is_some_and(|it| !it.is_empty()) && segments(rest, &path[1..])
            }
            [literal, rest @ ..] => path.first() == Some(literal) && segments(rest, &path[1..]),
        }
    }
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    segments(&pattern, &path)
}

const PRINCIPALS: &[&str] = &[
    "cluster.local/ns/a/sa/x",
    "cluster.local/ns/a/*",
    "*/sa/x",
    "*",
    "cluster.local/ns/b/sa/y",
];
const NAMESPACES: &[&str] = &["a", "b", "a*", "*b", "*", "istio-system"];
const BLOCKS: &[&str] = &["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1", "0.0.0.0/0"];
const TOKENS: &[&str] = &["*", "i/*", "*/s", "i/s", "i/t*"];
const HOSTS: &[&str] = &["h.example", "*.example", "H.Example:80", "h*", "*"];
const METHODS: &[&str] = &["GET", "POST", "P*", "*T", "*"];
const PATHS: &[&str] = &[
    "/a",
    "/a/*",
    "*/b",
    "*",
    "/{*}/b",
    "/a/{**}",
    "/a/{*}/{**}",
    "/{*}",
];
const PORTS: &[&str] = &["80", "8080"];
const HEADERS: &[&str] = &["1", "2*", "*3", "*"];

/// `NAME: [values]`, or nothing; the values of the field and of its negation.
fn values(name: &'static str, from: &'static [&'static str]) -> impl Strategy<Value = String> {
    let some = prop::sample::subsequence(from, 1..=2);
    let write = |values: Vec<&str>| {
        format!(
            "[{}]",
            values
                .iter()
                .map(|it| format!("'{it}'"))
                .collect::<Vec<_>>()
                .join(", ")
        )
    };
    let not_name = format!("not{}{}", name[..1].to_uppercase(), &name[1..]);
    prop_oneof![
        4 => some.clone().prop_map(move |it| format!("{name}: {}", write(it))),
        1 => some.clone().prop_map({
            let not_name = not_name.clone();
            move |it| format!("{not_name}: {}", write(it))
        }),
        1 => (some.clone(), some).prop_map(move |(a, b)| {
            format!("{name}: {}, {not_name}: {}", write(a), write(b))
        }),
    ]
}

fn entry(
    kind: &'static str,
    fields: &'static [(&'static str, &'static [&'static str])],
) -> impl Strategy<Value = String> {
    let chosen = prop::sample::subsequence(fields, 1..=2);
    let texts = chosen.prop_flat_map(|fields| {
        let texts: Vec<_> = fields
            .into_iter()
            .map(|(name, from)| values(name, from))
            .collect();
        texts
    });
    texts.prop_map(move |texts| format!("{{{kind}: {{{}}}}}", texts.join(", ")))
}

fn when() -> impl Strategy<Value = String> {
    let keys: &[(&str, &'static [&'static str])] = &[
        ("source.namespace", NAMESPACES),
        ("source.principal", PRINCIPALS),
        ("destination.port", PORTS),
        ("request.headers[x]", HEADERS),
        ("request.auth.claims[group]", HEADERS),
    ];
    prop::sample::select(keys.to_vec()).prop_flat_map(|(key, from)| {
        values("values", from).prop_map(move |it| format!("{{key: '{key}', {it}}}"))
    })
}

fn part(name: &'static str, of: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec(of, 0..=2).prop_map(move |all| match all.as_slice() {
        [] => String::new(),
        all => format!("{name}: [{}]", all.join(", ")),
    })
}

fn rule() -> impl Strategy<Value = String> {
    const SOURCE: &[(&str, &[&str])] = &[
        ("principals", PRINCIPALS),
        ("namespaces", NAMESPACES),
        ("ipBlocks", BLOCKS),
        ("requestPrincipals", TOKENS),
    ];
    const OPERATION: &[(&str, &[&str])] = &[
        ("hosts", HOSTS),
        ("methods", METHODS),
        ("paths", PATHS),
        ("ports", PORTS),
    ];
    let from = part("from", entry("source", SOURCE));
    let to = part("to", entry("operation", OPERATION));
    (from, to, part("when", when())).prop_map(|(from, to, when)| {
        let parts = [from, to, when];
        let parts: Vec<_> = parts.into_iter().filter(|it| !it.is_empty()).collect();
        format!("{{{}}}", parts.join(", "))
    })
}

fn spec() -> impl Strategy<Value = String> {
    let action = prop_oneof![Just("ALLOW"), Just("DENY")];
    // Often more than are tested one by one.
    (action, prop::collection::vec(rule(), 0..14))
        .prop_map(|(action, rules)| format!("{{action: {action}, rules: [{}]}}", rules.join(", ")))
}

fn request() -> impl Strategy<Value = String> {
    let of = |all: &'static [&'static str]| prop::sample::select(all.to_vec());
    (
        of(&["GET", "POST", "PUT", "DELETE"]),
        of(&["h.example", "H.EXAMPLE", "h.example:80", "other"]),
        of(&["/a", "/a/b", "/a/", "/b", "/a/c/d", "/c/b", "/"]),
        of(&[
            "from=nobody",
            "from=a/x",
            "from=b/y",
            "from=ab/x",
            "from=client",
        ]),
        of(&["", " ip=10.1.2.3", " ip=10.2.0.1", " ip=192.0.2.1"]),
        of(&["", " port=80"]),
        of(&["", " h:x=1", " h:x=23"]),
        of(&[
            "",
            " iss=i sub=s",
            " iss=i sub=tt",
            " claim:group=\"1\"",
            " claim:group=[\"2\",\"z3\"]",
        ]),
    )
        .prop_map(|(method, host, path, from, ip, port, header, token)| {
            // A client's connection ends at the gateway, so that its address is not the
            // source's.
            let ip = if from == "from=client" { "" } else { ip };
            format!("{method} {host}{path} {from}{ip}{port}{header}{token}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn mesh_decides_as_the_reference(
        specs in prop::collection::vec(spec(), 1..4),
        requests in prop::collection::vec(request(), 20),
    ) {
        let yaml: String = specs
            .iter()
            .enumerate()
            .map(|(number, spec)| policy("shop", &format!("p{number}"), spec))
            .collect();
        let loaded = galleria_manifest::read_str(Path::new("test.yaml"), &yaml);
        let policies: Vec<_> = loaded.objects.iter().map(|it| it.raw["spec"].clone()).collect();
        let world = mesh(&yaml);
        for request in requests {
            let mut asked = Asked::parse(&request);
            if let Peer::Client { .. } = asked.peer {
                asked.source_ip = None;
            }
            let allowed = world.ask("shop/app", &request) == "allow";
            prop_assert_eq!(allowed, expected(&policies, &asked), "{}\n{}", yaml, request);
        }
    }
}
