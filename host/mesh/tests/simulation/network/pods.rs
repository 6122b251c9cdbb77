//! The truth table: which of the nine pods reach which.

use std::collections::BTreeSet;

use super::{Cluster, NAMESPACES, PODS, policy};

/// What reaches a port: the sources in `from` and no others. `*` is every pod, `x` every
/// pod of the namespace.
struct Row {
    to: &'static str,
    port: u16,
    from: &'static str,
}

const fn row(to: &'static str, port: u16, from: &'static str) -> Row {
    Row { to, port, from }
}

#[track_caller]
fn check(name: &str, policies: &[(&str, &str)], rows: &[Row]) {
    let numbered = policies.iter().enumerate();
    let yaml = numbered
        .map(|(number, (namespace, spec))| policy(namespace, &format!("policy-{number}"), spec));
    let cluster = Cluster::of_nine(&yaml.collect::<String>());
    for row in rows {
        let (to, port) = (row.to, row.port);
        assert_eq!(
            cluster.sources(to, port),
            expand(row.from),
            "{name}: sources of {to}:{port}"
        );
    }
}

fn expand(text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for word in text.split_whitespace() {
        for namespace in NAMESPACES {
            for pod in PODS {
                let name = format!("{namespace}/{pod}");
                if word == "*" || word == namespace || word == name {
                    names.insert(name);
                }
            }
        }
    }
    names
}

#[test]
fn a_direction_is_open_until_a_policy_governs_it() {
    check(
        "no policy",
        &[],
        &[row("x/a", 80, "*"), row("z/c", 81, "*")],
    );
    check(
        "default deny of ingress",
        &[("x", "{podSelector: {}, policyTypes: [Ingress]}")],
        &[
            row("x/a", 80, ""),
            row("x/c", 81, ""),
            row("y/a", 80, "*"),
            row("z/b", 80, "*"),
        ],
    );
    check(
        "policyTypes is Ingress by default",
        &[("x", "{podSelector: {}}")],
        &[row("x/b", 80, ""), row("y/b", 80, "*")],
    );
    check(
        "an empty list of rules",
        &[("x", "{podSelector: {}, ingress: []}")],
        &[row("x/b", 80, ""), row("y/b", 80, "*")],
    );
    check(
        "default deny of egress",
        &[("x", "{podSelector: {}, policyTypes: [Egress]}")],
        &[
            row("x/a", 80, "y z"),
            row("y/a", 80, "y z"),
            row("z/a", 81, "y z"),
        ],
    );
    check(
        "default deny of both",
        &[("x", "{podSelector: {}, policyTypes: [Ingress, Egress]}")],
        &[row("x/a", 80, ""), row("y/a", 80, "y z")],
    );
    check(
        "an empty egress list without policyTypes governs no egress",
        &[("x", "{podSelector: {}, ingress: [{}], egress: []}")],
        &[row("x/a", 80, "*"), row("y/a", 80, "*")],
    );
    check(
        "egress rules without policyTypes govern egress and ingress",
        &[("x", "{podSelector: {}, egress: [{}]}")],
        &[row("x/a", 80, ""), row("y/a", 80, "*")],
    );
    check(
        "rules of a direction that policyTypes leaves out have no effect",
        &[(
            "x",
            "{podSelector: {}, policyTypes: [Egress], ingress: [], egress: [{}]}",
        )],
        &[row("x/a", 80, "*"), row("y/a", 80, "*")],
    );
    check(
        "a policy governs the pods that it selects, in its namespace",
        &[("x", "{podSelector: {matchLabels: {pod: a}}}")],
        &[row("x/a", 80, ""), row("x/b", 80, "*"), row("y/a", 80, "*")],
    );
}

#[test]
fn policies_add_up() {
    check(
        "a rule without fields allows everything",
        &[("x", "{podSelector: {}, ingress: [{}]}")],
        &[row("x/a", 80, "*")],
    );
    check(
        "empty lists in a rule allow everything",
        &[("x", "{podSelector: {}, ingress: [{from: [], ports: []}]}")],
        &[row("x/a", 81, "*")],
    );
    check(
        "allow-all beside deny-all",
        &[
            ("x", "{podSelector: {}, policyTypes: [Ingress]}"),
            ("x", "{podSelector: {}, ingress: [{}]}"),
        ],
        &[row("x/a", 80, "*"), row("x/c", 81, "*")],
    );
    check(
        "the sources of two policies",
        &[
            (
                "x",
                "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: y}}}]}]}",
            ),
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}]}]}",
            ),
        ],
        &[
            row("x/a", 80, "y x/b"),
            row("x/b", 80, "y"),
            row("x/c", 80, "y"),
        ],
    );
    check(
        "both ends must allow a connection",
        &[
            (
                "x",
                "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{namespaceSelector: {}}]}]}",
            ),
            (
                "y",
                "{podSelector: {matchLabels: {pod: b}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}",
            ),
        ],
        &[
            row("x/a", 80, "x y/a y/c z"),
            row("y/c", 80, "*"),
            row("z/a", 80, "x y/a y/c z"),
        ],
    );
}

#[test]
fn peers_are_selected_by_labels_of_pods_and_namespaces() {
    let ingress = |from: &str| {
        format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{from: {from}}}]}}")
    };
    for (from, expected) in [
        ("[{podSelector: {}}]", "x"),
        ("[{podSelector: {matchLabels: {pod: b}}}]", "x/b"),
        ("[{podSelector: {matchLabels: {pod: nobody}}}]", ""),
        (
            "[{podSelector: {matchExpressions: [{key: pod, operator: In, values: [b, c]}]}}]",
            "x/b x/c",
        ),
        (
            "[{podSelector: {matchExpressions: [{key: pod, operator: NotIn, values: [b]}]}}]",
            "x/a x/c",
        ),
        (
            "[{podSelector: {matchExpressions: [{key: pod, operator: Exists}]}}]",
            "x",
        ),
        (
            "[{podSelector: {matchExpressions: [{key: pod, operator: DoesNotExist}]}}]",
            "",
        ),
        (
            "[{podSelector: {matchLabels: {pod: b}, matchExpressions: [{key: pod, operator: In, values: [c]}]}}]",
            "",
        ),
        ("[{namespaceSelector: {}}]", "*"),
        ("[{namespaceSelector: {matchLabels: {ns: y}}}]", "y"),
        ("[{namespaceSelector: {matchLabels: {team: blue}}}]", "y"),
        ("[{namespaceSelector: {matchLabels: {ns: z}}}]", ""),
        (
            "[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: z}}}]",
            "z",
        ),
        (
            "[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: x}}}]",
            "x",
        ),
        (
            "[{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [x]}]}}]",
            "y z",
        ),
        (
            "[{namespaceSelector: {matchExpressions: [{key: ns, operator: Exists}]}}]",
            "x y",
        ),
        (
            "[{namespaceSelector: {matchExpressions: [{key: ns, operator: DoesNotExist}]}}]",
            "z",
        ),
        (
            "[{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: b}}}]",
            "y/b",
        ),
        (
            "[{namespaceSelector: {matchLabels: {ns: y}}}, {podSelector: {matchLabels: {pod: b}}}]",
            "y x/b",
        ),
        (
            "[{namespaceSelector: {}, podSelector: {matchLabels: {pod: c}}}]",
            "x/c y/c z/c",
        ),
        ("[{namespaceSelector: {}, podSelector: {}}]", "*"),
        ("[{ipBlock: {cidr: 0.0.0.0/0}}]", ""),
        (
            "[{ipBlock: {cidr: 0.0.0.0/0}}, {podSelector: {matchLabels: {pod: c}}}]",
            "x/c",
        ),
    ] {
        let rows = [row("x/a", 80, expected), row("x/b", 80, "*")];
        check(from, &[("x", &ingress(from))], &rows);
    }
}

#[test]
fn ports_are_those_of_the_destination() {
    let ports = |ports: &str| {
        format!("{{podSelector: {{matchLabels: {{pod: a}}}}, ingress: [{{ports: {ports}}}]}}")
    };
    for (text, on_80, on_81) in [
        ("[{port: 80}]", "*", ""),
        ("[{port: 80, protocol: TCP}]", "*", ""),
        ("[{port: 81}]", "", "*"),
        ("[{port: 80}, {port: 81}]", "*", "*"),
        ("[{port: serve-81}]", "", "*"),
        ("[{port: serve-80}]", "*", ""),
        ("[{port: unknown}]", "", ""),
        ("[{port: 80, endPort: 81}]", "*", "*"),
        ("[{port: 81, endPort: 90}]", "", "*"),
        ("[{port: 1, endPort: 80}]", "*", ""),
        ("[{port: 82, endPort: 65535}]", "", ""),
        ("[{protocol: TCP}]", "*", "*"),
        ("[{port: 80, protocol: UDP}]", "", ""),
        ("[{protocol: SCTP}]", "", ""),
        ("[{port: 80, protocol: UDP}, {port: 81}]", "", "*"),
    ] {
        let rows = [row("x/a", 80, on_80), row("x/a", 81, on_81)];
        check(text, &[("x", &ports(text))], &rows);
    }
    check(
        "a rule needs both a peer and a port",
        &[(
            "x",
            "{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}, {from: [{namespaceSelector: {matchLabels: {ns: y}}}], ports: [{port: 81}]}]}",
        )],
        &[row("x/a", 80, "x"), row("x/a", 81, "y")],
    );
}

#[test]
fn egress_is_decided_for_the_caller() {
    let egress = |to: &str| {
        format!(
            "{{podSelector: {{matchLabels: {{pod: a}}}}, policyTypes: [Egress], egress: [{to}]}}"
        )
    };
    for (rule, x_b, y_b) in [
        ("{}", "*", "*"),
        (
            "{to: [{podSelector: {matchLabels: {pod: b}}}]}",
            "*",
            "x/b x/c y z",
        ),
        (
            "{to: [{namespaceSelector: {matchLabels: {ns: y}}}]}",
            "x/b x/c y z",
            "*",
        ),
        (
            "{to: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: b}}}]}",
            "*",
            "*",
        ),
        (
            "{to: [{namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: c}}}]}",
            "x/b x/c y z",
            "x/b x/c y z",
        ),
        ("{ports: [{port: 80}]}", "*", "*"),
        ("{ports: [{port: 81}]}", "x/b x/c y z", "x/b x/c y z"),
        ("{ports: [{port: serve-80}]}", "*", "*"),
        ("{ports: [{port: serve-81}]}", "x/b x/c y z", "x/b x/c y z"),
        (
            "{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}",
            "x/b x/c y z",
            "x/b x/c y z",
        ),
        (
            "{to: [{podSelector: {}}], ports: [{port: 79, endPort: 80}]}",
            "*",
            "x/b x/c y z",
        ),
    ] {
        let rows = [row("x/b", 80, x_b), row("y/b", 80, y_b)];
        check(rule, &[("x", &egress(rule))], &rows);
    }
}
