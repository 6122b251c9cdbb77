//! Random policies against an evaluator that follows the reference word by word.

use std::net::{IpAddr, Ipv4Addr};

use galleria_mesh::inbound::Peer;
use proptest::prelude::*;

use super::{Cluster, NAMESPACES, PODS, policy};

/// One requirement of a selector.
#[derive(Debug, Clone)]
enum Requirement {
    Equals(&'static str, &'static str),
    In(&'static str, Vec<&'static str>),
    NotIn(&'static str, Vec<&'static str>),
    Exists(&'static str),
    DoesNotExist(&'static str),
}

type Selector = Vec<Requirement>;

#[derive(Debug, Clone)]
enum RandomPeer {
    Selectors {
        pods: Option<Selector>,
        namespaces: Option<Selector>,
    },
    /// `10.0.0.0/PREFIX` without `10.0.0.0/EXCEPT`.
    Block { prefix: u8, except: Option<u8> },
}

#[derive(Debug, Clone)]
enum RandomPort {
    Number(u16, Option<u16>),
    Name(&'static str),
    Udp(u16),
}

#[derive(Debug, Clone)]
struct RandomRule {
    peers: Option<Vec<RandomPeer>>,
    ports: Option<Vec<RandomPort>>,
}

#[derive(Debug, Clone)]
struct RandomPolicy {
    namespace: &'static str,
    pods: Selector,
    types: Vec<&'static str>,
    ingress: Option<Vec<RandomRule>>,
    egress: Option<Vec<RandomRule>>,
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
enum End {
    Pod(&'static str, &'static str),
    Client(Ipv4Addr),
}

fn selector_yaml(selector: &Selector) -> String {
    let (mut labels, mut expressions) = (Vec::new(), Vec::new());
    for requirement in selector {
        let (key, operator, values) = match requirement {
            Requirement::Equals(key, value) => {
                // A map has each key once.
                labels.retain(|it: &String| !it.starts_with(&format!("{key}:")));
                labels.push(format!("{key}: {value}"));
                continue;
            }
            Requirement::In(key, values) => (key, "In", values.join(", ")),
            Requirement::NotIn(key, values) => (key, "NotIn", values.join(", ")),
            Requirement::Exists(key) => (key, "Exists", String::new()),
            Requirement::DoesNotExist(key) => (key, "DoesNotExist", String::new()),
        };
        expressions.push(format!(
            "{{key: {key}, operator: {operator}, values: [{values}]}}"
        ));
    }
    format!(
        "{{matchLabels: {{{}}}, matchExpressions: [{}]}}",
        labels.join(", "),
        expressions.join(", ")
    )
}

impl RandomPeer {
    fn yaml(&self) -> String {
        match self {
            Self::Selectors { pods, namespaces } => {
                let pods = pods
                    .as_ref()
                    .map(|it| format!("podSelector: {}", selector_yaml(it)));
                let namespaces = namespaces
                    .as_ref()
                    .map(|it| format!("namespaceSelector: {}", selector_yaml(it)));
                let fields: Vec<String> = pods.into_iter().chain(namespaces).collect();
                format!("{{{}}}", fields.join(", "))
            }
            Self::Block { prefix, except } => {
                let except = except.map(|except| format!(", except: [10.0.0.0/{except}]"));
                let except = except.unwrap_or_default();
                format!("{{ipBlock: {{cidr: 10.0.0.0/{prefix}{except}}}}}")
            }
        }
    }
}

impl RandomPort {
    fn yaml(&self) -> String {
        match self {
            Self::Number(port, None) => format!("{{port: {port}}}"),
            Self::Number(port, Some(end)) => format!("{{port: {port}, endPort: {end}}}"),
            Self::Name(name) => format!("{{port: {name}, protocol: TCP}}"),
            Self::Udp(port) => format!("{{port: {port}, protocol: UDP}}"),
        }
    }
}

fn rules_yaml(rules: &[RandomRule], peers: &str) -> String {
    let rules = rules.iter().map(|rule| {
        let list = |name: &str, items: Vec<String>| format!("{name}: [{}]", items.join(", "));
        let peers = rule
            .peers
            .as_ref()
            .map(|it| list(peers, it.iter().map(RandomPeer::yaml).collect()));
        let ports = rule
            .ports
            .as_ref()
            .map(|it| list("ports", it.iter().map(RandomPort::yaml).collect()));
        let fields: Vec<String> = peers.into_iter().chain(ports).collect();
        format!("{{{}}}", fields.join(", "))
    });
    format!("[{}]", rules.collect::<Vec<_>>().join(", "))
}

impl RandomPolicy {
    fn yaml(&self, number: usize) -> String {
        let mut fields = vec![format!("podSelector: {}", selector_yaml(&self.pods))];
        if !self.types.is_empty() {
            fields.push(format!("policyTypes: [{}]", self.types.join(", ")));
        }
        if let Some(rules) = &self.ingress {
            fields.push(format!("ingress: {}", rules_yaml(rules, "from")));
        }
        if let Some(rules) = &self.egress {
            fields.push(format!("egress: {}", rules_yaml(rules, "to")));
        }
        let spec = format!("{{{}}}", fields.join(", "));
        policy(self.namespace, &format!("policy-{number}"), &spec)
    }
}

/// The labels as the fixture has them.
fn label_of_namespace(namespace: &str, key: &str) -> Option<String> {
    match (namespace, key) {
        (_, "kubernetes.io/metadata.name") => Some(namespace.to_owned()),
        ("x" | "y", "ns") => Some(namespace.to_owned()),
        ("y", "team") => Some("blue".to_owned()),
        _ => None,
    }
}

fn label_of_pod(pod: &str, key: &str) -> Option<String> {
    (key == "pod").then(|| pod.to_owned())
}

fn naive_selects(selector: &Selector, label: impl Fn(&str) -> Option<String>) -> bool {
    // Of two values for one key of matchLabels, the map keeps the later.
    let later = |index: usize, key: &str| {
        selector[index + 1..]
            .iter()
            .any(|it| matches!(it, Requirement::Equals(other, _) if *other == key))
    };
    selector.iter().enumerate().all(|(index, requirement)| {
        let has =
            |key: &str, values: &[&str]| label(key).is_some_and(|it| values.contains(&it.as_str()));
        match requirement {
            Requirement::Equals(key, value) => later(index, key) || has(key, &[value]),
            Requirement::In(key, values) => has(key, values),
            Requirement::NotIn(key, values) => !has(key, values),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::DoesNotExist(key) => label(key).is_none(),
        }
    })
}

fn naive_peer(peer: &RandomPeer, own: &str, end: End) -> bool {
    match (peer, end) {
        (RandomPeer::Selectors { pods, namespaces }, End::Pod(namespace, pod)) => {
            let in_namespace = match namespaces {
                None => namespace == own,
                Some(selector) => naive_selects(selector, |key| label_of_namespace(namespace, key)),
            };
            in_namespace
                && pods
                    .as_ref()
                    .is_none_or(|it| naive_selects(it, |key| label_of_pod(pod, key)))
        }
        (RandomPeer::Selectors { pods, namespaces }, End::Client(_)) => {
            let in_namespace = namespaces.as_ref().is_some_and(|selector| {
                naive_selects(selector, |key| label_of_namespace("istio-system", key))
            });
            let gateway = |key: &str| match key {
                "istio" => Some("ingressgateway".to_owned()),
                "app" => Some("istio-ingressgateway".to_owned()),
                _ => None,
            };
            in_namespace && pods.as_ref().is_none_or(|it| naive_selects(it, gateway))
        }
        (RandomPeer::Block { .. }, End::Pod(..)) => false,
        (RandomPeer::Block { prefix, except }, End::Client(ip)) => {
            let base = u32::from(Ipv4Addr::new(10, 0, 0, 0));
            let within = |prefix: u8| (u32::from(ip) ^ base).leading_zeros() >= u32::from(prefix);
            within(*prefix) && !except.is_some_and(within)
        }
    }
}

fn naive_rule(rule: &RandomRule, own: &str, end: End, port: u16) -> bool {
    let peer = match rule.peers.as_deref() {
        None | Some([]) => true,
        Some(peers) => peers.iter().any(|peer| naive_peer(peer, own, end)),
    };
    let port = match rule.ports.as_deref() {
        None | Some([]) => true,
        Some(ports) => ports.iter().any(|it| match it {
            RandomPort::Number(first, last) => port >= *first && port <= last.unwrap_or(*first),
            RandomPort::Name(name) => *name == format!("serve-{port}"),
            RandomPort::Udp(_) => false,
        }),
    };
    peer && port
}

/// Whether the policies of one direction let the pod and the other end connect.
fn naive(policies: &[RandomPolicy], ingress: bool, pod: (&str, &str), end: End, port: u16) -> bool {
    let governing: Vec<_> = policies
        .iter()
        .filter(|it| it.namespace == pod.0)
        .filter(|it| naive_selects(&it.pods, |key| label_of_pod(pod.1, key)))
        .filter(|it| match (it.types.as_slice(), ingress) {
            ([], true) => true,
            ([], false) => it.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
            (types, true) => types.contains(&"Ingress"),
            (types, false) => types.contains(&"Egress"),
        })
        .collect();
    governing.is_empty()
        || governing.iter().any(|policy| {
            let rules = if ingress {
                &policy.ingress
            } else {
                &policy.egress
            };
            rules
                .iter()
                .flatten()
                .any(|rule| naive_rule(rule, policy.namespace, end, port))
        })
}

fn requirement(
    keys: &'static [&'static str],
    values: &'static [&'static str],
) -> impl Strategy<Value = Requirement> {
    let key = || proptest::sample::select(keys);
    let some = || proptest::sample::subsequence(values, 1..=values.len());
    prop_oneof![
        (key(), proptest::sample::select(values))
            .prop_map(|(key, value)| Requirement::Equals(key, value)),
        (key(), some()).prop_map(|(key, values)| Requirement::In(key, values)),
        (key(), some()).prop_map(|(key, values)| Requirement::NotIn(key, values)),
        key().prop_map(Requirement::Exists),
        key().prop_map(Requirement::DoesNotExist),
    ]
}

fn pod_selector() -> impl Strategy<Value = Selector> {
    let keys = &["pod", "istio", "missing"];
    let values = &["a", "b", "c", "ingressgateway"];
    proptest::collection::vec(requirement(keys, values), 0..3)
}

fn namespace_selector() -> impl Strategy<Value = Selector> {
    let keys = &["ns", "team", "kubernetes.io/metadata.name"];
    let values = &["x", "y", "z", "blue", "istio-system"];
    proptest::collection::vec(requirement(keys, values), 0..3)
}

fn peer() -> impl Strategy<Value = RandomPeer> {
    let selectors = (
        proptest::option::of(pod_selector()),
        proptest::option::of(namespace_selector()),
    );
    let selectors = selectors.prop_map(|(pods, namespaces)| {
        let pods = pods.or_else(|| namespaces.is_none().then(Vec::new));
        RandomPeer::Selectors { pods, namespaces }
    });
    let block = (8_u8..30, proptest::option::of(1_u8..3)).prop_map(|(prefix, longer)| {
        let except = longer.map(|longer| prefix + longer);
        RandomPeer::Block { prefix, except }
    });
    prop_oneof![4 => selectors, 1 => block]
}

fn port() -> impl Strategy<Value = RandomPort> {
    prop_oneof![
        (79_u16..83, proptest::option::of(0_u16..3))
            .prop_map(|(port, more)| RandomPort::Number(port, more.map(|more| port + more))),
        proptest::sample::select(&["serve-80", "serve-81", "other"]).prop_map(RandomPort::Name),
        (79_u16..83).prop_map(RandomPort::Udp),
    ]
}

fn rules() -> impl Strategy<Value = Option<Vec<RandomRule>>> {
    let peers = proptest::option::of(proptest::collection::vec(peer(), 0..3));
    let ports = proptest::option::of(proptest::collection::vec(port(), 0..3));
    let rule = (peers, ports).prop_map(|(peers, ports)| RandomRule { peers, ports });
    proptest::option::of(proptest::collection::vec(rule, 0..3))
}

fn random_policy() -> impl Strategy<Value = RandomPolicy> {
    (
        proptest::sample::select(&NAMESPACES),
        pod_selector(),
        proptest::sample::subsequence(&["Ingress", "Egress"], 0..=2),
        rules(),
        rules(),
    )
        .prop_map(|(namespace, pods, types, ingress, egress)| RandomPolicy {
            namespace,
            pods,
            types,
            ingress,
            egress,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn decisions_are_those_of_a_naive_evaluator(
        policies in proptest::collection::vec(random_policy(), 0..6),
        port in 79_u16..83,
        last in 0_u32..=0x00ff_ffff,
    ) {
        let yaml: String = policies.iter().enumerate().map(|(number, it)| it.yaml(number)).collect();
        let cluster = Cluster::of_nine(&yaml);
        let ends: Vec<(&str, &str)> = NAMESPACES.iter().flat_map(|ns| PODS.map(|pod| (*ns, pod))).collect();
        let ip = Ipv4Addr::from(0x0a00_0000 | last);
        for to in &ends {
            let name = format!("{}/{}", to.0, to.1);
            for from in &ends {
                let expected = naive(&policies, false, *from, End::Pod(to.0, to.1), port)
                    && naive(&policies, true, *to, End::Pod(from.0, from.1), port);
                let source = format!("{}/{}", from.0, from.1);
                prop_assert_eq!(cluster.connects(&source, &name, port), expected, "{} to {}\n{}", source, name, yaml);
            }
            let client = Peer::Client { listener_port: 80, ip: IpAddr::V4(ip) };
            let expected = naive(&policies, true, *to, End::Client(ip), port);
            prop_assert_eq!(cluster.accepts(&client, &name, port).is_ok(), expected, "{} to {}\n{}", ip, name, yaml);
        }
    }
}
