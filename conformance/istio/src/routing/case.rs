//! The configuration of a mesh, and requests through its gateway and from its workloads.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::judge;

/// A gateway, or a workload that calls others.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) gateway: bool,
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    pub(super) labels: &'static [(&'static str, &'static str)],
}

pub(super) const PROXIES: [Proxy; 3] = [
    Proxy {
        gateway: true,
        namespace: "istio-system",
        name: "gateway",
        labels: &[("istio", "ingressgateway")],
    },
    Proxy {
        gateway: false,
        namespace: "shop",
        name: "ui",
        labels: &[("app", "ui"), ("version", "v1")],
    },
    Proxy {
        gateway: false,
        namespace: "bank",
        name: "ledger",
        labels: &[("app", "ledger"), ("tier", "back")],
    },
];

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) number: usize,
    pub(super) istio: Vec<Value>,
    pub(super) kubernetes: Vec<Value>,
    pub(super) requests: Vec<Request>,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The index of its proxy.
    pub(super) proxy: usize,
    pub(super) port: u16,
    pub(super) method: String,
    /// The path and the query.
    pub(super) target: String,
    pub(super) host: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Case {
    /// All objects, as YAML.
    pub(super) fn manifest(&self) -> String {
        documents(self.kubernetes.iter().chain(&self.istio))
    }

    /// The objects of Istio, one in a line.
    pub(super) fn summary(&self) -> String {
        let lines = self.istio.iter().map(|object| {
            let metadata = &object["metadata"];
            format!(
                "{} {}/{} {}: {}",
                object["kind"].as_str().unwrap_or_default(),
                metadata["namespace"].as_str().unwrap_or_default(),
                metadata["name"].as_str().unwrap_or_default(),
                metadata["creationTimestamp"].as_str().unwrap_or_default(),
                object["spec"]
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Whether the requested host is not the full name of a Service or of a ServiceEntry, or
    /// that has the port.
    pub(super) fn has_port(&self, request: &Request) -> bool {
        let host = request.host.split(':').next().unwrap_or_default();
        let host = host.to_ascii_lowercase();
        let is_named = |it: &&Value| {
            let declared = it["spec"]["hosts"][0].as_str().unwrap_or_default();
            match declared.strip_prefix('*') {
                Some(rest) => host.ends_with(rest),
                None => host == declared,
            }
        };
        let entries = self.istio.iter().filter(|it| it["kind"] == "ServiceEntry");
        let named = self
            .service(&host)
            .or_else(|| entries.clone().find(is_named));
        let ports = named.and_then(|it| it["spec"]["ports"].as_array());
        let is_it = |it: &Value| it["port"] == request.port || it["number"] == request.port;
        ports.is_none_or(|ports| ports.iter().any(is_it))
    }

    /// Whether a cluster is of a Service that is not exported to its own namespace.
    pub(super) fn hides(&self, cluster: &str) -> bool {
        let host = cluster.rsplit('|').next().unwrap_or_default();
        let Some(metadata) = self.service(host).map(|it| &it["metadata"]) else {
            return false;
        };
        let namespace = metadata["namespace"].as_str().unwrap_or_default();
        let export = metadata["annotations"]["networking.istio.io/exportTo"].as_str();
        export.is_some_and(|it| it.split(',').all(|it| it != "." && it != namespace))
    }

    /// The Service with this full name.
    fn service(&self, host: &str) -> Option<&Value> {
        self.kubernetes.iter().find(|it| {
            let text = |field: &str| it["metadata"][field].as_str().unwrap_or_default();
            let name = format!("{}.{}.svc.cluster.local", text("name"), text("namespace"));
            it["kind"] == "Service" && host == name
        })
    }

    pub(super) fn for_judge(&self) -> judge::RoutingCase {
        let proxies = PROXIES.iter().enumerate();
        let proxies = proxies.map(|(number, proxy)| judge::Proxy {
            gateway: proxy.gateway,
            name: proxy.name.into(),
            namespace: proxy.namespace.into(),
            labels: labels(proxy),
            address: address(number),
        });
        let requests = self.requests.iter().map(|request| judge::RoutingRequest {
            proxy: request.proxy,
            port: request.port,
            text: request.text(),
        });
        judge::RoutingCase {
            istio: documents(self.istio.iter().filter(|it| !is_gateway_api(it))),
            kubernetes: documents(
                self.kubernetes
                    .iter()
                    .chain(self.istio.iter().filter(|it| is_gateway_api(it)))
                    .chain(&gateway()),
            ),
            proxies: proxies.collect(),
            requests: requests.collect(),
        }
    }
}

pub(super) fn labels(proxy: &Proxy) -> HashMap<String, String> {
    let pairs = proxy.labels.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn documents<'a>(objects: impl Iterator<Item = &'a Value>) -> String {
    objects.map(|object| format!("---\n{object}\n")).collect()
}

/// Istio's control plane reads these as objects of Kubernetes.
fn is_gateway_api(object: &Value) -> bool {
    let version = object["apiVersion"].as_str();
    version.is_some_and(|it| it.starts_with("gateway.networking.k8s.io/"))
}

/// By these, the control plane knows which proxy serves a Gateway of the Gateway API. The host
/// has one gateway.
fn gateway() -> [Value; 3] {
    let metadata = json!({
        "name": "gateway", "namespace": "istio-system",
        "labels": {"app": "gateway", "istio": "ingressgateway"},
    });
    let port =
        |number| json!({"name": format!("http-{number}"), "port": number, "targetPort": number});
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {
            "clusterIP": "10.255.0.9", "selector": {"app": "gateway"},
            "ports": [port(80), port(8080)],
        },
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"containers": [{"name": "istio-proxy", "image": "proxy"}]},
        "status": {
            "podIP": address(0), "podIPs": [{"ip": address(0)}], "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": {"name": "istio"},
        "spec": {"controllerName": "istio.io/gateway-controller"},
    });
    [service, pod, class]
}

/// The address of the proxy with this number.
fn address(proxy: usize) -> String {
    format!("10.9.0.{}", proxy + 1)
}

impl Request {
    /// The request as HTTP/1.1.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut add = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = write!(text, "{name}: {value}\r\n");
        };
        add("host", &self.host);
        for (name, value) in &self.headers {
            add(name, value);
        }
        text + "connection: close\r\ncontent-length: 0\r\n\r\n"
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = &PROXIES[self.proxy];
        let (namespace, name, port) = (proxy.namespace, proxy.name, self.port);
        match proxy.gateway {
            true => write!(f, "at the gateway, port {port}\n{}", self.text()),
            false => write!(f, "from {name}.{namespace} to port {port}\n{}", self.text()),
        }
    }
}
