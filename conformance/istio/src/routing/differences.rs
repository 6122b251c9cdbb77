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
    /// All that the mesh may answer.
    pub(super) ours: Result<&'a [Outcome], &'a str>,
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

pub(super) const ACCEPTED: [Difference; 7] = [
    Difference {
        name: "undeclared port",
        reason: "a call to a port that the Service does not have is refused with 502 and says \
                 so; Istio sends it to the address as it is, where nothing listens, or has the \
                 rules of a VirtualService that is also for another host",
        is: |pair| {
            let is_refused = |it: &Outcome| it.status == 502 && it.cluster.is_empty();
            let is_passed = |it: &Outcome| it.cluster == "PassthroughCluster";
            let is_undeclared = pair.request.is_some_and(|it| !pair.case.has_port(it));
            pair.differ(is_refused, is_passed)
                || (is_undeclared && pair.differ(is_refused, |_| true))
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
            let (Ok([ours]), Ok(theirs)) = (pair.ours, pair.theirs) else {
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
            let is_missing = |it: &Outcome| it.status == 503 && it.cluster.is_empty();
            let forwarded = match pair.request.map(|it| it.port) {
                Some(80) => "outbound|8080|",
                _ => "outbound|80|",
            };
            let is_forwarded = |it: &Outcome| it.cluster.starts_with(forwarded);
            pair.differ(is_forwarded, is_missing)
        },
        example: || {
            let services = [service("cart", 80), service("ui", 8080)];
            let route = json!([{"destination": {"host": "cart"}}]);
            let spec = json!({"hosts": ["ui"], "http": [{ "route": route }]});
            let rule = object("VirtualService", "shop", &spec);
            example(&services, &[rule], 1, 8080, "ui.shop:8080")
        },
    },
    Difference {
        name: "not exported to its own namespace",
        reason: "a Service that is not exported to its own namespace is no destination there; in \
                 Istio, a VirtualService can send requests to it",
        is: |pair| {
            let is_missing = |it: &Outcome| it.status == 503 && it.cluster.is_empty();
            pair.differ(is_missing, |it| pair.case.hides(&it.cluster))
        },
        example: || {
            let mut hidden = service("cart", 80);
            hidden["metadata"]["annotations"] = json!({"networking.istio.io/exportTo": "bank"});
            let services = [hidden, service("ui", 8080)];
            let destination = json!({"host": "cart", "port": {"number": 80}});
            let route = json!([{ "destination": destination }]);
            let spec = json!({"hosts": ["ui"], "http": [{ "route": route }]});
            let rule = object("VirtualService", "shop", &spec);
            example(&services, &[rule], 1, 8080, "ui.shop:8080")
        },
    },
    Difference {
        name: "two ports of a redirect",
        reason: "the port of a redirect replaces that of its authority; Istio's location has \
                 both, one after the other, which is not a valid address",
        is: |pair| {
            let location = |it: &Outcome| it.headers.get("location").cloned().unwrap_or_default();
            let theirs = pair.theirs.map(location).unwrap_or_default();
            theirs.contains("other.test:9090:")
                && pair.differ(
                    |it| location(it) == theirs.replacen(":9090:", ":", 1),
                    |_| true,
                )
        },
        example: || {
            let services = [service("cart", 80)];
            let redirect = json!({"authority": "other.test:9090", "port": 8443});
            let spec = json!({"hosts": ["cart"], "http": [{ "redirect": redirect }]});
            let rule = object("VirtualService", "shop", &spec);
            example(&services, &[rule], 1, 80, "cart")
        },
    },
    Difference {
        name: "several cookie lines",
        reason: "cookies are one header for conditions and services (RFC 9113), however the \
                 client has split them; of HTTP/1, Envoy compares each line",
        is: |pair| {
            let headers = pair.request.map_or(&[][..], |it| it.headers.as_slice());
            let cookies = headers.iter().filter(|(name, _)| name == "cookie");
            let is_read = pair.case.manifest().contains("\"cookie\"");
            // The judge joins the lines as other headers.
            let joined = |it: &Outcome| {
                let mut it = it.clone();
                for value in it.seen.headers.values_mut() {
                    *value = value.replace("; ", ",");
                }
                it
            };
            let is_same = pair.theirs.is_ok_and(|theirs| {
                pair.ours
                    .is_ok_and(|all| all.iter().any(|it| joined(it) == joined(theirs)))
            });
            cookies.count() > 1 && (is_read || is_same)
        },
        example: || {
            let services = [service("cart", 80)];
            let matches = json!([{"headers": {"cookie": {"exact": "a=1"}}}]);
            let rules = json!([
                {"match": matches, "directResponse": {"status": 403}},
                {"directResponse": {"status": 404}},
            ]);
            let spec = json!({"hosts": ["cart"], "http": rules});
            let rule = object("VirtualService", "shop", &spec);
            let mut case = example(&services, &[rule], 1, 80, "cart");
            for value in ["a=1", "b=2"] {
                let cookie = ("cookie".to_owned(), value.to_owned());
                case.requests[0].headers.push(cookie);
            }
            case
        },
    },
];

impl Pair<'_> {
    /// Whether both answers are known, and are such answers.
    fn differ(&self, ours: impl Fn(&Outcome) -> bool, theirs: impl Fn(&Outcome) -> bool) -> bool {
        self.ours.is_ok_and(|all| all.iter().any(ours)) && self.theirs.is_ok_and(theirs)
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
