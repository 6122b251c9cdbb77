//! The configuration of a mesh, and requests through its gateway and from its workloads.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write as _;

use serde_json::Value;

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
        documents(&self.kubernetes) + &documents(&self.istio)
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

    pub(super) fn for_judge(&self) -> judge::RoutingCase {
        let proxies = PROXIES.iter().enumerate();
        let proxies = proxies.map(|(number, proxy)| judge::Proxy {
            gateway: proxy.gateway,
            name: proxy.name.into(),
            namespace: proxy.namespace.into(),
            labels: labels(proxy),
            address: format!("10.9.0.{}", number + 1),
        });
        let requests = self.requests.iter().map(|request| judge::RoutingRequest {
            proxy: request.proxy,
            port: request.port,
            text: request.text(),
        });
        judge::RoutingCase {
            istio: documents(&self.istio),
            kubernetes: documents(&self.kubernetes),
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

fn documents(objects: &[Value]) -> String {
    objects
        .iter()
        .map(|object| format!("---\n{object}\n"))
        .collect()
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
