//! Envoy as a sidecar of the same mesh: it calls a workload of a host, and is called by one.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{APP, Hosts, ONE, ONLY_ONE, TWO, VALID, peer_authentication, received, services};
use crate::support::apart::Pod;
use crate::support::{Galleria, Identity, MeshAuthority, eventually};

/// The variable with the path of Envoy.
const VARIABLE: &str = "GALLERIA_TEST_ENVOY";

/// The identity of the host's gateway.
const GATEWAY: &str =
    "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";

/// A running Envoy.
struct Envoy {
    process: Child,
    folder: tempfile::TempDir,
}

impl Envoy {
    /// With one listener at `address`, with the fields `listener`, and the cluster `app`.
    fn start(address: &str, listener: &str, cluster: &str) -> Self {
        let program = std::env::var_os(VARIABLE).unwrap_or_else(|| {
            panic!("no {VARIABLE}: `cargo xtask test` installs Envoy, or set it to its path")
        });
        let folder = tempfile::tempdir().expect("a folder");
        let (host, port) = address.rsplit_once(':').expect("an address");
        let config = format!(
            "static_resources:
  listeners:
  - name: sidecar
    address: {{socket_address: {{address: {host}, port_value: {port}}}}}
    filter_chains:
    - {listener}
  clusters:
  - name: app
    connect_timeout: 5s
    {cluster}
"
        );
        let file = folder.path().join("envoy.yaml");
        std::fs::write(&file, config).expect("a file");
        let log = folder.path().join("log");
        let log = std::fs::File::create(log).expect("a file");
        let process = Command::new(program)
            .arg("-c")
            .arg(file)
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "debug"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("envoy");
        Self { process, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = self.log();
            let end = log.lines().rev().take(60).collect::<Vec<_>>();
            eprintln!(
                "--- the end of the log of Envoy, last line first\n{}",
                end.join("\n")
            );
        }
    }
}

/// The TLS settings of both ends, as Istio gives them to sidecars.
fn tls_context(kind: &str, folder: &Path, identity: &Identity, root: &str, peer: &str) -> String {
    for (name, text) in [
        ("cert.pem", &identity.certificate),
        ("key.pem", &identity.key),
        ("root.pem", &root.to_owned()),
    ] {
        std::fs::write(folder.join(name), text).expect("a file");
    }
    let folder = folder.display();
    let alpn = match kind {
        "Upstream" => "[istio, h2]",
        _ => "[h2, http/1.1]",
    };
    let required = match kind {
        "Upstream" => "sni: outbound_.80_._.app.test.svc.cluster.local",
        _ => "require_client_certificate: true",
    };
    format!(
        "transport_socket:
          name: envoy.transport_sockets.tls
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}TlsContext
            {required}
            common_tls_context:
              tls_params: {{tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}}
              alpn_protocols: {alpn}
              tls_certificates:
              - certificate_chain: {{filename: {folder}/cert.pem}}
                private_key: {{filename: {folder}/key.pem}}
              validation_context:
                trusted_ca: {{filename: {folder}/root.pem}}
                match_typed_subject_alt_names:
                - {{san_type: URI, matcher: {{exact: '{peer}'}}}}"
    )
}

fn http(more: &str, routes: &str) -> String {
    format!(
        "filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: sidecar
          {more}
          route_config:
            virtual_hosts:
            - {{name: app, domains: ['*'], routes: [{routes}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"
    )
}

#[test]
fn sidecar_calls_a_workload() {
    let authority = MeshAuthority::new();
    let manifest = services(&[ONLY_ONE, &peer_authentication("STRICT")]);
    let hosts = Hosts::start(&manifest, &[&authority.argument()]);
    let folder = tempfile::tempdir().expect("a folder");
    let address = Pod::of("sidecar").address();
    for (id, path, status) in [(ONE, "/from-envoy", 200), (TWO, "/denied", 403)] {
        let identity = authority.issue(id, VALID);
        let tls = tls_context("Upstream", folder.path(), &identity, &authority.root(), APP);
        let (host, port) = (&hosts.addresses[0], 8080);
        let cluster = format!(
            "typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: app
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}}}]}}]
    {tls}"
        );
        let listen = format!("{address}:8081");
        let route = "{match: {prefix: /}, route: {cluster: app}}";
        let _envoy = Envoy::start(&listen, &http("", route), &cluster);
        let url = format!("http://{listen}{path}");
        let answer = eventually("Envoy answers", || {
            let config = ureq::Agent::config_builder().http_status_as_error(false);
            let agent: ureq::Agent = config.build().into();
            let mut response = agent.get(&url).call().ok()?;
            let body = response.body_mut().read_to_string().ok()?;
            Some((response.status().as_u16(), body))
        });
        assert_eq!(answer.0, status, "{}", answer.1);
        if status == 200 {
            let certificates = received(&answer.1, "x-forwarded-client-cert");
            let is_one = |it: &String| it.ends_with(&format!("URI={ONE}"));
            assert!(certificates.iter().any(is_one), "{certificates:?}");
        }
    }
    let denied = hosts
        .app()
        .call("the denied call", |call| call["path"] == "/denied");
    assert_eq!(denied["response_code"], 403);
}

#[test]
fn sidecar_is_called_as_a_workload() {
    let authority = MeshAuthority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(file, services(&[])).expect("a file");
    let pod = Pod::of("app");
    let peer = pod.peer();
    let gateway = Galleria::run(folder.path())
        .arguments(&[authority.argument().as_str(), &peer, "--gateway"])
        .start();
    let certificates = tempfile::tempdir().expect("a folder");
    let start = |id: &str| {
        let identity = authority.issue(id, VALID);
        let root = authority.root();
        let tls = tls_context("Downstream", certificates.path(), &identity, &root, GATEWAY);
        let details = "forward_client_cert_details: APPEND_FORWARD
          set_current_client_cert_details: {uri: true, subject: true}";
        let route = "{match: {prefix: /}, direct_response: {status: 200}, response_headers_to_add: [\
             {header: {key: x-peer, value: '%DOWNSTREAM_PEER_URI_SAN%'}}, \
             {header: {key: x-protocol, value: '%PROTOCOL%'}}]}";
        let listener = http(details, route) + "\n      " + &tls;
        let cluster = "load_assignment: {cluster_name: app}";
        Envoy::start(&format!("{}:8080", pod.address()), &listener, cluster)
    };
    let envoy = start(APP);
    let answer = eventually("Envoy answers", || {
        let answer = gateway.get("/app/");
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.header("x-peer"), GATEWAY);
    assert_eq!(answer.header("x-protocol"), "HTTP/2");
    drop(envoy);
    // Another workload of the mesh at the same address.
    let _other = start(TWO);
    eventually("the host refuses it", || {
        assert_ne!(gateway.get("/app/").status, 200);
        (Hosts::refusals(&gateway, "wrong_identity") >= 1.0).then_some(())
    });
}
