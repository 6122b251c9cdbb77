//! NetworkPolicies: the truth table of nine pods, `a`, `b` and `c` in the namespaces `x`, `y` and
//! `z`. Each pod is in the host of the gateway, and has a twin with the same labels in the other
//! host that only calls.

use std::fmt::Write;

use super::{ExpectedLines, Hosts, Request};

const NAMESPACES: [&str; 3] = ["x", "y", "z"];
const PODS: [&str; 3] = ["a", "b", "c"];

/// Policies by namespace. Each lets the gateway reach the port `control`, by which the test
/// makes a pod call; `z` has none for ingress, so that its pods accept everything.
const POLICIES: &[(&str, &str)] = &[
    (
        "x",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: istio-system}}}], ports: [{port: control}]}]}",
    ),
    (
        "y",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: istio-system}}}], ports: [{port: control}]}]}",
    ),
    // One pod of the namespace, and one of another.
    (
        "x",
        "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}, {namespaceSelector: {matchLabels: {ns: y}}, podSelector: {matchLabels: {pod: a}}}]}]}",
    ),
    // A namespace by its label, to one port.
    (
        "x",
        "{podSelector: {matchLabels: {pod: b}}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: blue}}}], ports: [{port: serve}]}]}",
    ),
    // Only clients, by their address.
    (
        "x",
        "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{ipBlock: {cidr: 127.0.0.0/8, except: [127.9.0.0/16]}}]}]}",
    ),
    // Every pod of the namespace.
    (
        "y",
        "{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {}}]}]}",
    ),
    // Everybody.
    ("y", "{podSelector: {matchLabels: {pod: b}}, ingress: [{}]}"),
    // Namespaces that are not `y`, to another port: nobody.
    (
        "y",
        "{podSelector: {matchLabels: {pod: c}}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: ns, operator: NotIn, values: [y]}]}}], ports: [{port: 7}]}]}",
    ),
    // Only pods of `x`.
    (
        "y",
        "{podSelector: {matchLabels: {pod: c}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {ns: x}}}]}]}",
    ),
    // Nobody.
    (
        "z",
        "{podSelector: {matchLabels: {pod: c}}, policyTypes: [Egress]}",
    ),
    // Pods `b` of every namespace.
    (
        "z",
        "{podSelector: {matchLabels: {pod: b}}, egress: [{to: [{namespaceSelector: {}, podSelector: {matchLabels: {pod: b}}}]}], policyTypes: [Egress]}",
    ),
];

/// Whom each pod admits, without what callers may not do: `client`, pods, or `*`.
const ADMITTED: [(&str, &str); 9] = [
    ("x/a", "x/b y/a"),
    ("x/b", "y/a y/b y/c"),
    ("x/c", "client"),
    ("y/a", "y/a y/b y/c"),
    ("y/b", "*"),
    ("y/c", ""),
    ("z/a", "*"),
    ("z/b", "*"),
    ("z/c", "*"),
];

/// Whom the callers with policies may call; the others may call every pod.
const CALLABLE: [(&str, &str); 3] = [("y/c", "x/a x/b x/c"), ("z/c", ""), ("z/b", "x/b y/b z/b")];

fn has(list: &str, name: &str) -> bool {
    list == "*" || list.split(' ').any(|it| it == name)
}

/// Why a call is denied: `ingress` or `egress`.
fn denial(from: &str, to: &str) -> Option<&'static str> {
    let callable = CALLABLE.iter().find(|(name, _)| *name == from);
    if callable.is_some_and(|(_, list)| !has(list, to)) {
        return Some("egress");
    }
    let admitted = ADMITTED.iter().find(|(name, _)| *name == to);
    let (_, list) = admitted.expect("every pod is in the table");
    (!has(list, from)).then_some("ingress")
}

fn names() -> Vec<(&'static str, &'static str)> {
    let pods = |namespace| PODS.map(move |pod| (namespace, pod));
    NAMESPACES.into_iter().flat_map(pods).collect()
}

fn manifest() -> String {
    let mut yaml = String::from(
        "{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {ns: x}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: y, labels: {ns: y, team: blue}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: z}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gateway, namespace: x}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: x}
spec:
  hosts: ['*']
  gateways: [gateway]
  http:
",
    );
    for (namespace, pod) in names() {
        let name = format!("{namespace}-{pod}");
        for (path, host, port) in [
            (name.clone(), name.clone(), 80),
            (format!("control-{name}"), name.clone(), 81),
            (format!("control-far-{name}"), format!("far-{name}"), 81),
        ] {
            let _ = writeln!(
                yaml,
                "    - {{match: [{{uri: {{prefix: /{path}/}}}}], rewrite: {{uri: /}}, route: \
                 [{{destination: {{host: {host}.{namespace}.svc.cluster.local, port: {{number: \
                 {port}}}}}}}]}}"
            );
        }
    }
    let mut port = 9_001;
    for (namespace, pod) in names() {
        for side in ["", "far-"] {
            let name = format!("{side}{namespace}-{pod}");
            let (serve, control) = (port, port + 1);
            port += 2;
            let _ = write!(
                yaml,
                "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{name: {name}}}
  ports: [{{name: http, port: 80, targetPort: serve}}, {{name: http-control, port: 81, targetPort: control}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{name: {name}}}}}
  template:
    metadata: {{labels: {{name: {name}, pod: {pod}}}}}
    spec:
      containers:
        - name: main
          image: call
          ports: [{{name: serve, containerPort: {serve}}}, {{name: control, containerPort: {control}}}]
          resources: {{limits: {{memory: 64Mi}}}}
"
            );
        }
    }
    for (number, (namespace, spec)) in POLICIES.iter().enumerate() {
        let _ = write!(
            yaml,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: \
             policy-{number}, namespace: {namespace}}}\nspec: {spec}\n"
        );
    }
    yaml
}

#[test]
fn truth_table_of_nine_pods_holds_in_one_process_and_between_hosts() {
    let names = names();
    let near = names.iter().map(|(ns, pod)| format!("{ns}-{pod}"));
    let near: Vec<_> = near.collect();
    let far: Vec<_> = near.iter().map(|name| format!("far-{name}")).collect();
    let hosts = Hosts::start_as_written(&manifest(), &near, &far);
    let mut lines = ExpectedLines::default();
    let mut rows = 0;
    for (to_namespace, to_pod) in &names {
        let to = format!("{to_namespace}/{to_pod}");
        let service = format!("{to_namespace}-{to_pod}");
        let id = format!("client-{service}");
        let answer = hosts.near.get(&format!("/{service}/?row={id}"));
        check(&mut lines, &id, "client", &to, answer.status);
        rows += 1;
        for (namespace, pod) in &names {
            let from = format!("{namespace}/{pod}");
            if from == to {
                continue;
            }
            rows += 1;
            for side in ["", "far-"] {
                let id = format!("{side}{namespace}-{pod}-{service}");
                let request = Request::new("/").with_id(&id);
                let route = format!("control-{side}{namespace}-{pod}");
                let authority = format!("{service}.{to_namespace}");
                let answer = hosts.through(&route, &authority, &request);
                check(&mut lines, &id, &from, &to, answer.status);
            }
        }
    }
    assert!(rows >= 60, "{rows} rows");
    hosts.have_logged(&lines);
    let denied = lines.0.values().filter(|(status, _)| *status == 503);
    let labels = ["reporter=\"source\"", "response_flags=\"UF\""];
    let counts = [&hosts.near, &hosts.far].map(|host| host.metric("istio_requests_total", &labels));
    assert_eq!(counts.iter().sum::<f64>(), denied.count() as f64);
    explained(&hosts);
}

/// The explanation denies the same connections, and names the direction.
fn explained(hosts: &Hosts) {
    for (to_namespace, to_pod) in names() {
        for (namespace, pod) in names() {
            let (from, to) = (
                format!("{namespace}/{pod}"),
                format!("{to_namespace}/{to_pod}"),
            );
            if from == to {
                continue;
            }
            let url = format!("http://{to_namespace}-{to_pod}.{to_namespace}/");
            let caller = format!("{namespace}/{namespace}-{pod}");
            let arguments = ["explain", "--url", &url, "--from", &caller];
            let page = hosts.near.galleria(&arguments).stdout;
            let found = ["egress", "ingress"]
                .into_iter()
                .find(|direction| page.contains(&format!("no {direction} rule")));
            assert_eq!(found, denial(&from, &to), "{from} to {to}\n{page}");
            assert_eq!(page.contains("503 UF"), found.is_some(), "{page}");
        }
    }
}

/// A pod that is reached answers 400, as the request names no URL to call.
#[track_caller]
fn check(lines: &mut ExpectedLines, id: &str, from: &str, to: &str, status: u16) {
    match denial(from, to) {
        None => {
            assert_eq!(status, 400, "{from} to {to}: {id}");
            lines.add(id, 400, "via_upstream");
        }
        Some(direction) => {
            assert_eq!(status, 503, "{from} to {to}: {id}");
            lines.add(id, 503, &format!("network_policy_denied{{{direction}:"));
        }
    }
}
