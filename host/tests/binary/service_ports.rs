//! Services of type NodePort and LoadBalancer: their ports for clients outside the mesh.

use crate::support::{Galleria, Host, Service, kubectl, manifests, refused};

const EXPOSED: &str = "---
apiVersion: v1
kind: Service
metadata: {name: node, namespace: test}
spec:
  type: NodePort
  selector: {app: good}
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: balanced, namespace: test}
spec:
  type: LoadBalancer
  selector: {app: good}
  ports: [{name: http, port: 9090, targetPort: 8080}]
";

/// With the policies `more`.
fn start(more: &str) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let good = manifests(&[Service::new("good", "hello")]);
    std::fs::write(&file, format!("{good}{EXPOSED}{more}")).expect("a file");
    Galleria::run(file).start()
}

#[track_caller]
fn in_test(host: &Host, arguments: &[&str]) -> String {
    kubectl(host, &[arguments, &["-n", "test"]].concat())
}

/// The status and the body of an answer of the listener for `port`.
#[track_caller]
fn ask(host: &Host, port: u16) -> (u16, String) {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let url = format!("http://{}/", host.listener(port));
    let mut answer = agent.get(url).call().expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a body");
    (answer.status().as_u16(), body)
}

fn node_port(host: &Host, service: &str) -> u16 {
    let path = "jsonpath={.spec.ports[0].nodePort}";
    let port = in_test(host, &["get", "service", service, "-o", path]);
    port.parse().expect("a node port")
}

#[test]
fn ports_of_services_lead_to_their_pods_and_come_and_go() {
    let host = start("");
    let hello = (200, "hello\n".to_owned());
    assert_eq!(ask(&host, 30_080), hello);
    assert_eq!(ask(&host, 9090), hello);
    assert_eq!(ask(&host, node_port(&host, "balanced")), hello);
    let shown = in_test(&host, &["get", "services"]);
    assert!(shown.contains("80:30080/TCP"), "{shown}");
    assert!(shown.contains("127.0.0.1     9090:"), "{shown}");

    let expose = [
        "expose",
        "deployment",
        "good",
        "--name=more",
        "--type=NodePort",
    ];
    in_test(
        &host,
        &[&expose[..], &["--port=80", "--target-port=8080"]].concat(),
    );
    let port = node_port(&host, "more");
    assert_eq!(ask(&host, port), hello);
    let patch = r#"{"spec":{"type":"ClusterIP"}}"#;
    in_test(&host, &["patch", "service", "more", "-p", patch]);
    let ports = in_test(
        &host,
        &["get", "service", "more", "-o", "jsonpath={.spec.ports}"],
    );
    assert!(!ports.contains("nodePort"), "{ports}");
    let open = host.report()["listeners"].to_string();
    assert!(!open.contains(&format!("\"port\":{port}")), "{open}");
}

#[test]
fn a_port_that_is_taken_is_refused_or_pending_and_takes_nothing_away() {
    let host = start("");
    let taken = ["create", "service", "nodeport", "late", "-n", "test"];
    let taken = [&taken[..], &["--tcp=80:8080", "--node-port=30080"]].concat();
    let reason = refused(&host, &taken);
    assert!(
        reason.contains("spec.ports[0].nodePort: Invalid value: 30080"),
        "{reason}"
    );
    for (port, owner) in [(9090, "test/balanced"), (80, "test/gateway")] {
        let ports = format!("--tcp={port}:8080");
        in_test(
            &host,
            &["create", "service", "loadbalancer", "late", &ports],
        );
        let shown = in_test(&host, &["get", "service", "late"]);
        assert!(shown.contains("<pending>"), "{shown}");
        let reason = format!("port {port} is not open to clients outside the mesh: {owner} has it");
        let log = host.stderr();
        assert!(log.contains(&reason), "{log}");
        in_test(&host, &["delete", "service", "late"]);
    }
    assert_eq!(ask(&host, 9090), (200, "hello\n".to_owned()));
    assert_eq!(host.get("/good/").body, "hello\n");
}

#[test]
fn policies_of_a_pod_hold_for_clients_of_its_node_port() {
    let deny = "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: gateway-only, namespace: test}
spec:
  selector: {matchLabels: {app: good}}
  rules: [{from: [{source: {namespaces: [istio-system]}}]}]
";
    let host = start(deny);
    assert_eq!(host.get("/good/").status, 200);
    for port in [30_080, 9090] {
        assert_eq!(ask(&host, port), (403, "RBAC: access denied".to_owned()));
    }
}
