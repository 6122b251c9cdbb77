//! External authorization with real services: a plain HTTP server and a gRPC server outside
//! the host, which answer by what they are asked.

mod grpc_provider;
mod http_provider;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use self::grpc_provider::GrpcProvider;
use self::http_provider::{Asked, HttpProvider};
use crate::support::{Galleria, Host, Service, manifests};

/// A mesh whose services `app` (which echoes) and `call` (which calls) are behind a provider.
struct Mesh {
    host: Host,
    _folder: tempfile::TempDir,
}

/// A ServiceEntry for the provider, MeshConfig with `fields` of it, and a policy for `app`.
fn manifest(address: SocketAddr, kind: &str, fields: &str, selector: &str) -> String {
    let protocol = match kind {
        "envoyExtAuthzGrpc" => "grpc",
        _ => "http",
    };
    let port = address.port();
    let services = manifests(&[Service::new("app", "echo"), Service::new("call", "call")]);
    let (namespace, labels) = selector.split_once('/').expect("a namespace and labels");
    format!(
        "{services}---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: provider, namespace: test}}
spec:
  hosts: [auth.example.com]
  ports: [{{number: 9000, name: {protocol}, protocol: {protocol}}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{{protocol}: {port}}}}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: provider
      {kind}: {{service: auth.example.com, port: 9000{fields}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{{labels}}}}}
  action: CUSTOM
  provider: {{name: provider}}
  rules: [{{to: [{{operation: {{notPaths: ['*open']}}}}]}}]
"
    )
}

impl Mesh {
    fn start(manifest: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
        Self {
            host: Galleria::run(folder.path()).start(),
            _folder: folder,
        }
    }

    fn of_app(address: SocketAddr, kind: &str, fields: &str) -> Self {
        Self::start(&manifest(address, kind, fields, "test/app: app"))
    }

    /// Asserts the flag and the details of the call of `path` to the pod, which its caller
    /// reports.
    fn assert_logged(&self, path: &str, flags: &str, details: &str) {
        self.host.call("the call", |call| {
            call["path"] == path
                && call["response_flags"] == flags
                && call["response_code_details"] == details
        });
    }
}

const HTTP: &str = "envoyExtAuthzHttp";
const GRPC: &str = "envoyExtAuthzGrpc";

/// The answer of the HTTP provider to a path.
fn answer(asked: &Asked) -> String {
    let path = asked.path.rsplit('/').next().unwrap_or_default();
    let headers = "x-user: me\r\nset-cookie: session=1\r\nx-hidden: 1\r\n";
    let (head, body) = match path {
        "login" => ("302 Found\r\nlocation: https://login.example\r\n", "log in"),
        "denied" => (
            "403 Forbidden\r\ncontent-type: text/html\r\nx-reason: no\r\n",
            "<no>",
        ),
        "fails" => ("500 Internal Server Error\r\n", "broken"),
        "endless" => {
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-length: 9999999\r\n\r\n";
            return format!("{head}{}", "x".repeat(1 << 20));
        }
        "slow" => {
            std::thread::sleep(Duration::from_secs(3));
            ("200 OK\r\n", "")
        }
        _ => ("200 OK\r\n", ""),
    };
    let length = body.len();
    format!("HTTP/1.1 {head}{headers}content-length: {length}\r\n\r\n{body}")
}

#[test]
fn http_provider_decides_and_changes_the_request() {
    let provider = HttpProvider::start(answer);
    let fields = ", pathPrefix: /check, timeout: 0.5s, includeRequestHeadersInCheck: [x-tenant], \
                  includeAdditionalHeadersInCheck: {x-mesh: shop}, headersToUpstreamOnAllow: \
                  [x-user], headersToDownstreamOnAllow: [set-cookie], headersToDownstreamOnDeny: \
                  [x-reason]";
    let mesh = Mesh::of_app(provider.address, HTTP, fields);
    // Allowed, with changes.
    let headers = [
        ("x-tenant", "a"),
        ("x-user", "forged"),
        ("authorization", "Bearer t"),
    ];
    let allowed = mesh.host.get_with("/app/a?b=c", &headers);
    assert_eq!(allowed.status, 200, "{}", allowed.body);
    assert!(
        allowed.body.contains(r#"{"name":"x-user","value":"me"}"#),
        "{}",
        allowed.body
    );
    assert!(!allowed.body.contains("forged") && !allowed.body.contains("x-hidden"));
    assert_eq!(allowed.header("set-cookie"), "session=1");
    assert!(!allowed.headers.contains_key("x-user"));
    // What the provider was asked.
    let asked = provider.asked();
    let [question] = asked.as_slice() else {
        unreachable!("{asked:?}");
    };
    assert_eq!(
        (question.method.as_str(), question.path.as_str()),
        ("GET", "/check/a?b=c")
    );
    assert_eq!(question.header("host"), mesh.host.listener(80));
    assert_eq!(question.header("x-tenant"), "a");
    assert_eq!(question.header("x-mesh"), "shop");
    assert_eq!(question.header("authorization"), "Bearer t");
    assert_eq!(question.header("content-length"), "0");
    assert_eq!(question.header("x-user"), "");
    // Denied, with status, headers and body of the provider.
    let denied = mesh.host.get("/app/denied");
    assert_eq!((denied.status, denied.body.as_str()), (403, "<no>"));
    assert_eq!(denied.header("x-reason"), "no");
    assert!(!denied.headers.contains_key("set-cookie"));
    mesh.assert_logged("/app/denied", "UAEX", "ext_authz_denied");
    let login = mesh.host.get("/app/login");
    assert_eq!(login.status, 302);
    assert_eq!(login.header("location"), "https://login.example");
    // No decision.
    for path in ["/app/fails", "/app/endless", "/app/slow"] {
        let begin = Instant::now();
        let answer = mesh.host.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (403, ""), "{path}");
        assert!(begin.elapsed() < Duration::from_secs(3), "{path}");
        mesh.assert_logged(path, "UAEX", "ext_authz_error");
    }
    // What no rule matches is not asked about, and other workloads are not concerned.
    let count = provider.asked().len();
    assert_eq!(mesh.host.get("/app/open").status, 200);
    assert_eq!(provider.asked().len(), count);
    // Guests are asked about too.
    let through = mesh.host.get("/call/?url=http://app/denied");
    assert_eq!(through.header("x-upstream-status"), "403");
    let through = mesh.host.get("/call/?url=http://app/a");
    assert_eq!(through.header("x-upstream-status"), "200");
    for (result, expected) in [("ok", 2.0), ("denied", 3.0), ("error", 3.0)] {
        let result = format!("result=\"{result}\"");
        let labels = ["kind=\"ext_authz\"", result.as_str()];
        let count = mesh
            .host
            .metric("galleria_provider_decisions_total", &labels);
        assert_eq!(count, expected, "{result}");
    }
}

#[test]
fn provider_that_fails_can_be_ignored_or_have_a_status() {
    let provider = HttpProvider::start(answer);
    let mesh = Mesh::of_app(provider.address, HTTP, ", timeout: 0.3s, failOpen: true");
    for path in ["/app/fails", "/app/endless", "/app/slow", "/app/a"] {
        assert_eq!(mesh.host.get(path).status, 200, "{path}");
    }
    assert_eq!(mesh.host.get("/app/denied").status, 403);
    // Nobody listens.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("an address");
    drop(nobody);
    let mesh = Mesh::of_app(address, HTTP, ", statusOnError: '503'");
    assert_eq!(mesh.host.get("/app/a").status, 503);
    mesh.assert_logged("/app/a", "UAEX", "ext_authz_error");
}

#[test]
fn body_is_sent_to_the_provider_and_stays_whole() {
    let provider = HttpProvider::start(answer);
    let whole = ", includeRequestBodyInCheck: {maxRequestBytes: 10}";
    let mesh = Mesh::of_app(provider.address, HTTP, whole);
    let small = mesh.host.post("/app/a", &serde_json::json!("1234"));
    assert_eq!((small.status, small.body.as_str()), (200, r#""1234""#));
    let large = mesh.host.post("/app/a", &serde_json::json!("123456789"));
    assert_eq!(
        (large.status, large.body.as_str()),
        (413, "Payload Too Large")
    );
    let asked = provider.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, r#""1234""#);
    assert_eq!(asked[0].header("x-envoy-auth-partial-body"), "false");
    drop(mesh);
    let partial = ", includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true}";
    let mesh = Mesh::of_app(provider.address, HTTP, partial);
    let large = mesh.host.post("/app/a", &serde_json::json!("123456789"));
    assert_eq!((large.status, large.body.as_str()), (200, r#""123456789""#));
    let asked = provider.asked();
    assert_eq!(asked[1].body, r#""123456789"#);
    assert_eq!(asked[1].header("x-envoy-auth-partial-body"), "true");
}

#[test]
fn grpc_provider_decides_and_changes_the_request() {
    let provider = GrpcProvider::start();
    let fields = ", timeout: 0.5s, includeRequestBodyInCheck: {maxRequestBytes: 64, packAsBytes: \
                  true}";
    let mesh = Mesh::of_app(provider.address, GRPC, fields);
    let headers = [("x-old", "1"), ("x-list", "a"), ("x-user", "forged")];
    let allowed = mesh.host.get_with("/app/a?b=c&drop=1", &headers);
    assert_eq!(allowed.status, 200, "{}", allowed.body);
    for line in [
        r#"{"name":"x-user","value":"me"}"#,
        r#"{"name":"x-list","value":"a,b"}"#,
        r#""target":"/a?b=c&set=2""#,
    ] {
        assert!(allowed.body.contains(line), "{line}\n{}", allowed.body);
    }
    assert!(!allowed.body.contains("x-old"), "{}", allowed.body);
    assert_eq!(allowed.header("x-checked"), "yes");
    let denied = mesh.host.get("/app/denied");
    assert_eq!((denied.status, denied.body.as_str()), (429, "no more"));
    assert_eq!(denied.header("x-reason"), "limit");
    mesh.assert_logged("/app/denied", "UAEX", "ext_authz_denied");
    for (path, status) in [("/app/plain", 403), ("/app/fails", 403), ("/app/slow", 403)] {
        assert_eq!(mesh.host.get(path).status, status, "{path}");
    }
    mesh.assert_logged("/app/fails", "UAEX", "ext_authz_error");
    mesh.assert_logged("/app/slow", "UAEX", "ext_authz_error");
    let posted = mesh.host.post("/app/a", &serde_json::json!("body"));
    assert_eq!((posted.status, posted.body.as_str()), (200, r#""body""#));
    // What the provider was asked.
    let asked = provider.asked();
    let first = &asked[0];
    assert_eq!(
        (first.method.as_str(), first.path.as_str()),
        ("GET", "/a?b=c&drop=1")
    );
    assert_eq!(first.host, mesh.host.listener(80));
    assert_eq!(first.headers["x-list"], "a");
    assert_eq!(first.headers[":path"], "/a?b=c&drop=1");
    let gateway = "spiffe://cluster.local/ns/istio-system/sa/\
                   istio-ingressgateway-service-account";
    assert_eq!(first.source, gateway);
    assert_eq!(
        first.destination,
        "spiffe://cluster.local/ns/test/sa/default"
    );
    assert_eq!(first.client, "127.0.0.1");
    let last = asked.last().expect("a question");
    assert_eq!(last.raw_body, br#""body""#);
    assert_eq!(last.headers["x-envoy-auth-partial-body"], "false");
}

#[test]
fn gateway_asks_before_any_route() {
    let provider = HttpProvider::start(answer);
    let fields = ", headersToUpstreamOnAllow: [x-user]";
    let labels = "istio-system/istio: ingressgateway";
    let mesh = Mesh::start(&manifest(provider.address, HTTP, fields, labels));
    let allowed = mesh.host.get("/app/a");
    assert!(
        allowed.body.contains(r#"{"name":"x-user","value":"me"}"#),
        "{}",
        allowed.body
    );
    assert_eq!(mesh.host.get("/nowhere/denied").status, 403);
    assert_eq!(mesh.host.get("/nowhere/a").status, 404);
    assert_eq!(provider.asked().len(), 3);
    // Guests do not pass through the gateway.
    let through = mesh.host.get("/call/open?url=http://app/denied");
    assert_eq!(through.header("x-upstream-status"), "200");
}

#[test]
fn provider_that_is_not_declared_denies_and_is_reported() {
    let provider = HttpProvider::start(answer);
    let text = manifest(provider.address, HTTP, "", "test/app: app");
    let mesh = Mesh::start(&text.replace("  provider: {name: provider}", "  provider: {name: x}"));
    let denied = mesh.host.get("/app/a");
    assert_eq!(
        (denied.status, denied.body.as_str()),
        (403, "RBAC: access denied")
    );
    let details = "rbac_access_denied_matched_policy[istio-ext-authz-x-ns[test]-policy[ask]-\
                   rule[0]-deny-due-to-bad-CUSTOM-action]";
    mesh.assert_logged("/app/a", "-", details);
    assert!(
        mesh.host.stderr().contains("there is no provider `x`"),
        "{}",
        mesh.host.stderr()
    );
    assert!(provider.asked().is_empty());
}
