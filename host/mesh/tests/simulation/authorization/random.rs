//! Random authorization policies and requests. The fuzz target `policies` makes them of its
//! inputs.

use proptest::prelude::*;

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

pub(super) fn spec() -> impl Strategy<Value = String> {
    let action = prop_oneof![Just("ALLOW"), Just("DENY")];
    // Often more than are tested one by one.
    (action, prop::collection::vec(rule(), 0..14))
        .prop_map(|(action, rules)| format!("{{action: {action}, rules: [{}]}}", rules.join(", ")))
}

/// In the notation of [`Asked`](super::Asked).
pub(super) fn request() -> impl Strategy<Value = String> {
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
