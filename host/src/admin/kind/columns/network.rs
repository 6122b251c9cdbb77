//! Columns of services, ingresses and Istio's kinds.

use serde_json::Value;

use super::{AGE, Cell, Column, NAME, column, joined, wide};

pub(super) const SERVICE: &[Column] = &[
    NAME,
    column("Type", |it| match it.text("/spec/type") {
        "" => "ClusterIP".into(),
        given => given.into(),
    }),
    column("Cluster-IP", |it| it.text_or_none("/spec/clusterIP")),
    column("External-IP", external_ip),
    column("Port(s)", |it| {
        joined(it.list("/spec/ports").map(service_port))
    }),
    AGE,
    wide("Selector", |it| it.selector("/spec/selector")),
];

pub(super) const ENDPOINTS: &[Column] = &[
    NAME,
    column("Endpoints", |it| {
        let subsets = it.list("/subsets").flat_map(|subset| {
            let ports = items(subset, "ports");
            ports.flat_map(move |port| {
                let address = move |it: &Value| format!("{}:{}", bare(&it["ip"]), port["port"]);
                items(subset, "addresses").map(address)
            })
        });
        joined(subsets)
    }),
    AGE,
];

pub(super) const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    column("AddressType", |it| it.text("/addressType").into()),
    column("Ports", |it| {
        joined(it.list("/ports").map(|port| port["port"].to_string()))
    }),
    column("Endpoints", |it| {
        let addresses = it.list("/endpoints").flat_map(|it| items(it, "addresses"));
        joined(addresses.map(|address| bare(address).to_owned()))
    }),
    AGE,
];

fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn bare(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) const NETWORK_POLICY: &[Column] = &[
    NAME,
    column("Pod-Selector", |it| {
        let labels = it.at("/spec/podSelector/matchLabels").as_object();
        let labels = labels.into_iter().flatten();
        let labels = labels.map(|(key, value)| format!("{key}={}", bare(value)));
        let expressions = it.list("/spec/podSelector/matchExpressions");
        joined(labels.chain(expressions.map(requirement)))
    }),
    AGE,
];

/// As in `app in (ui,db)`.
fn requirement(expression: &Value) -> String {
    let key = bare(&expression["key"]);
    let values: Vec<&str> = items(expression, "values").map(bare).collect();
    let values = values.join(",");
    match bare(&expression["operator"]) {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.to_owned(),
    }
}

pub(super) const INGRESS: &[Column] = &[
    NAME,
    column("Class", |it| it.text_or_none("/spec/ingressClassName")),
    column("Hosts", |it| match it.joined("/spec/rules", "host") {
        Value::String(none) if none == "<none>" => "*".into(),
        hosts => hosts,
    }),
    column("Address", |_| "".into()),
    column("Ports", |it| match it.len("/spec/tls") {
        0 => "80".into(),
        _ => "80, 443".into(),
    }),
    AGE,
];

pub(super) const GATEWAY_API_GATEWAY: &[Column] = &[
    NAME,
    column("Class", |it| it.text("/spec/gatewayClassName").into()),
    column("Programmed", |it| it.condition("Programmed").into()),
    AGE,
];

pub(super) const HTTP_ROUTE: &[Column] = &[
    NAME,
    column("Hostnames", |it| as_json(it.at("/spec/hostnames"))),
    AGE,
];

pub(super) const VIRTUAL_SERVICE: &[Column] = &[
    NAME,
    column("Gateways", |it| as_json(it.at("/spec/gateways"))),
    column("Hosts", |it| as_json(it.at("/spec/hosts"))),
    AGE,
];

pub(super) const AUTHORIZATION_POLICY: &[Column] = &[
    NAME,
    column("Action", |it| match it.text("/spec/action") {
        "" => "ALLOW".into(),
        given => given.into(),
    }),
    AGE,
];

pub(super) const DESTINATION_RULE: &[Column] =
    &[NAME, column("Host", |it| it.text("/spec/host").into()), AGE];

pub(super) const SERVICE_ENTRY: &[Column] = &[
    NAME,
    column("Hosts", |it| as_json(it.at("/spec/hosts"))),
    column("Location", |it| it.text("/spec/location").into()),
    column("Resolution", |it| it.text("/spec/resolution").into()),
    AGE,
];

/// A list in a column of a custom resource is JSON.
fn as_json(list: &Value) -> Value {
    match list {
        Value::Null => "".into(),
        list => list.to_string().into(),
    }
}

fn external_ip(it: Cell<'_>) -> Value {
    let addresses = it.list("/status/loadBalancer/ingress");
    let addresses: Vec<_> = addresses.map(|it| bare(&it["ip"]).to_owned()).collect();
    match it.text("/spec/type") {
        "LoadBalancer" if addresses.is_empty() => "<pending>".into(),
        "LoadBalancer" => addresses.join(",").into(),
        _ => it.text_or_none("/spec/externalName"),
    }
}

fn service_port(port: &Value) -> String {
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    match &port["nodePort"] {
        Value::Null => format!("{}/{protocol}", port["port"]),
        node => format!("{}:{node}/{protocol}", port["port"]),
    }
}
