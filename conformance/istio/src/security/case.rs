//! Policies of a mesh, and requests to one of its workloads.

use std::fmt;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use crate::judge;

/// The workload that all requests are for, and its usual namespace.
pub(super) const NAMESPACE: &str = "shop";
pub(super) const NAME: &str = "app";
pub(super) const ACCOUNT: &str = "app-account";
pub(super) const LABELS: [(&str, &str); 2] = [("app", "app"), ("version", "v1")];
pub(super) const PORTS: [u16; 2] = [8080, 9090];
const ADDRESS: &str = "10.9.0.1";

/// The address of a caller that has none here. No policy of a case names it.
const NOWHERE: &str = "127.200.0.1";

/// The headers that the answers tell, as the workload sees them.
pub(super) const SEEN: [&str; 6] = [
    "authorization",
    "x-token",
    "x-jwt-payload",
    "x-claim-sub",
    "x-claim-role",
    "x-claim-level",
];

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) number: usize,
    /// Of the workload.
    pub(super) namespace: String,
    /// The policies, as YAML.
    pub(super) manifest: String,
    /// The number of policies.
    pub(super) policies: usize,
    pub(super) requests: Vec<Request>,
}

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) from: Caller,
    pub(super) port: u16,
    pub(super) method: String,
    /// The path and the query.
    pub(super) target: String,
    pub(super) host: String,
    pub(super) headers: Vec<(String, String)>,
}

/// The caller of a request.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A workload, over mutual TLS. Its address is only known if it runs in another host.
    Workload {
        namespace: String,
        account: String,
        address: Option<IpAddr>,
    },
    /// Anything without an identity, in plain text.
    Unknown { address: Option<IpAddr> },
    /// A client of the gateway. The gateway's connection has no address here.
    Client(IpAddr),
}

impl Case {
    /// The policies, without their keys.
    pub(super) fn summary(&self) -> String {
        let lines = self.manifest.lines().filter(|line| *line != "---");
        let lines = lines.map(|line| {
            let Ok(mut policy) = serde_json::from_str::<Value>(line) else {
                return line.to_owned();
            };
            if let Some(rules) = policy["spec"]["jwtRules"].as_array_mut() {
                for rule in rules {
                    let keys = rule["jwks"].as_str().unwrap_or_default();
                    let ids = keys.split("\"kid\":").skip(1);
                    let ids = ids.filter_map(|it| it.split(',').next());
                    rule["jwks"] = ids.collect::<Vec<_>>().join(" ").into();
                }
            }
            format!(
                "{} {}: {}",
                policy["kind"], policy["metadata"], policy["spec"]
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    pub(super) fn for_judge(&self) -> judge::SecurityCase {
        let labels = LABELS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        judge::SecurityCase {
            policies: self.manifest.clone(),
            workload: judge::Workload {
                namespace: self.namespace.clone(),
                name: NAME.into(),
                account: ACCOUNT.into(),
                labels: labels.into_iter().collect(),
                address: ADDRESS.into(),
                ports: PORTS.to_vec(),
            },
            requests: self.requests.iter().map(Request::for_judge).collect(),
            seen: SEEN.map(str::to_owned).to_vec(),
        }
    }
}

impl Request {
    fn for_judge(&self) -> judge::SecurityRequest {
        let identity = match &self.from {
            Caller::Workload {
                namespace, account, ..
            } => format!("spiffe://cluster.local/ns/{namespace}/sa/{account}"),
            Caller::Unknown { .. } => String::new(),
            Caller::Client(_) => {
                "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
                    .into()
            }
        };
        let source = match &self.from {
            Caller::Workload { address, .. } | Caller::Unknown { address } => *address,
            Caller::Client(_) => None,
        };
        judge::SecurityRequest {
            identity,
            server_name: "outbound_.8080_._.app.shop.svc.cluster.local".into(),
            source: source.map_or_else(|| NOWHERE.to_owned(), |it| it.to_string()),
            destination: ADDRESS.into(),
            port: self.port,
            text: self.text(),
        }
    }

    /// The request as HTTP/1.1.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        let mut add = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = write!(text, "{name}: {value}\r\n");
        };
        add("host", &self.host);
        // What the proxies of callers add.
        add("x-forwarded-proto", "http");
        if let Caller::Client(address) = &self.from {
            add("x-forwarded-for", &address.to_string());
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        text + "connection: close\r\ncontent-length: 0\r\n\r\n"
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to port {}\n{}", self.from, self.port, self.text())
    }
}
