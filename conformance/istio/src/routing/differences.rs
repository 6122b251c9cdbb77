//! The differences from Istio that are accepted. Each has an example, which every run
//! compares: a difference that does not exist any more fails the run.

use serde_json::{Value, json};

use super::case::{Case, Request};
use super::outcome::Outcome;

/// What both say about a case, or about one request. An error is the reason for refusing the
/// configuration.
pub(super) struct Pair<'a> {
    pub(super) case: &'a Case,
    /// `None` for a configuration that one of them refuses.
    pub(super) request: Option<&'a Request>,
    pub(super) ours: Result<&'a Outcome, &'a str>,
    pub(super) theirs: Result<&'a Outcome, &'a str>,
}

pub(super) struct Difference {
    pub(super) name: &'static str,
    /// Why the mesh differs on purpose.
    pub(super) reason: &'static str,
    /// Whether two different answers are this difference.
    pub(super) is: fn(&Pair<'_>) -> bool,
    /// A configuration and requests that show it.
    pub(super) example: fn() -> Case,
}

pub(super) const ACCEPTED: [Difference; 4] = [
    Difference {
        name: "undeclared port",
        reason: "a call to a port that the Service does not have is refused with 502 and says \
                 so; Istio sends it to the address as it is, where nothing listens",
        is: |pair| {
            let is_refused = |it: &Outcome| it.status == 502 && it.cluster.is_empty();
            let is_passed = |it: &Outcome| it.cluster == "PassthroughCluster";
            pair.differ(is_refused, is_passed)
        },
        example: || {
            let services = [service("cart", 80), service("other", 8080)];
            example(&services, &[], 1, 8080, "cart.shop:8080")
        },
    },
    Difference {
        name: "httpsRedirect with a port",
        reason: "the location has no port, or the port that clients use; Envoy keeps `:80` of the \
                 Host header, where no TLS is served",
        is: |pair| {
            let location = |it: &Outcome| it.headers.get("location").cloned().unwrap_or_default();
            let (Ok(ours), Ok(theirs)) = (pair.ours, pair.theirs) else {
                return false;
            };
            let (ours, theirs) = (location(ours), location(theirs));
            ours.starts_with("https://")
                && [":80/", ":8080/"]
                    .iter()
                    .any(|port| theirs.replacen(port, "/", 1) == ours)
        },
        example: || {
            let gateway = redirecting("*");
            example(&[], &[gateway], 0, 80, "shop.test:80")
        },
    },
    Difference {
        name: "httpsRedirect with a namespace",
        reason: "hosts of a server with `httpsRedirect` are redirected, also with a namespace in \
                 front; Istio redirects only the hosts of VirtualServices then",
        is: |pair| {
            let redirects = |it: &Outcome| {
                let location = it.headers.get("location");
                it.status == 301 && location.is_some_and(|it| it.starts_with("https://"))
            };
            pair.case.manifest().contains("httpsRedirect") && pair.differ(redirects, |_| true)
        },
        example: || {
            let gateway = redirecting("shop/*");
            example(&[], &[gateway], 0, 80, "shop.test")
        },
    },
    Difference {
        name: "the only port of a destination",
        reason: "a destination without a port is the only port of its Service, as the reference \
                 says; on another port, Istio looks for that port",
        is: |pair| {
            let is_forwarded = |it: &Outcome| it.cluster.starts_with("outbound|80|");
            let is_missing = |it: &Outcome| it.status == 503 && it.cluster.is_empty();
            pair.request.is_some_and(|it| it.port == 8080) && pair.differ(is_forwarded, is_missing)
        },
        example: || {
            let services = [service("cart", 80), service("ui", 8080)];
            let route = json!([{"destination": {"host": "cart"}}]);
            let spec = json!({"hosts": ["ui"], "http": [{ "route": route }]});
            let rule = object("VirtualService", "shop", &spec);
            example(&services, &[rule], 1, 8080, "ui.shop:8080")
        },
    },
];

impl Pair<'_> {
    /// Whether both answers are known, and are such answers.
    fn differ(&self, ours: fn(&Outcome) -> bool, theirs: fn(&Outcome) -> bool) -> bool {
        self.ours.is_ok_and(ours) && self.theirs.is_ok_and(theirs)
    }
}

fn example(kubernetes: &[Value], istio: &[Value], proxy: usize, port: u16, host: &str) -> Case {
    let request = Request {
        proxy,
        port,
        method: "GET".to_owned(),
        target: "/".to_owned(),
        host: host.to_owned(),
        headers: Vec::new(),
    };
    Case {
        number: 0,
        istio: istio.to_vec(),
        kubernetes: kubernetes.to_vec(),
        requests: vec![request],
    }
}

fn service(name: &str, port: u16) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIP": format!("10.255.1.{}", port / 80),
            "selector": {"app": name},
            "ports": [{"name": "http", "port": port}],
        },
    })
}

fn redirecting(host: &str) -> Value {
    let port = json!({"number": 80, "name": "http", "protocol": "HTTP"});
    let server = json!({"port": port, "hosts": [host], "tls": {"httpsRedirect": true}});
    let spec = json!({"selector": {"istio": "ingressgateway"}, "servers": [server]});
    object("Gateway", "istio-system", &spec)
}

fn object(kind: &str, namespace: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {
            "name": "example",
            "namespace": namespace,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": spec,
    })
}
