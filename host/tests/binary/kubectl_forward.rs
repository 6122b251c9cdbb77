//! `kubectl port-forward`: reaches a pod from a port of this machine, bypassing the mesh.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::support::{Galleria, Host, Service, eventually, kubeconfig, kubectl, manifests};

/// How kubectl upgrades its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    WebSocket,
    Spdy,
}

/// A kubectl that forwards a port until it is dropped.
struct Forward {
    child: Child,
    /// The port on this machine.
    port: u16,
    errors: mpsc::Receiver<String>,
}

impl Forward {
    fn start(host: &Host, target: &str, port: u16, upgrade: Upgrade) -> Self {
        let websockets = upgrade == Upgrade::WebSocket;
        let mut child = Command::new("kubectl")
            .env("KUBECONFIG", kubeconfig(host, &[]))
            .env("HOME", &host.data)
            .env(
                "KUBECTL_PORT_FORWARD_WEBSOCKETS",
                if websockets { "true" } else { "false" },
            )
            .args(["port-forward", "-v=4", "--address=127.0.0.1", "-n", "test"])
            .args([target, &format!(":{port}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl");
        let errors = lines(child.stderr.take().expect("piped"));
        // Both outputs are read to their end, or kubectl would block or terminate.
        let line = lines(child.stdout.take().expect("piped")).recv();
        let line = line.unwrap_or_default();
        // Forwarding from 127.0.0.1:PORT -> 8080
        let local = line
            .split_whitespace()
            .nth(2)
            .and_then(|it| it.rsplit(':').next());
        let port = local.and_then(|port| port.parse().ok());
        Self {
            child,
            port: port
                .unwrap_or_else(|| panic!("{line:?} {:?}", errors.iter().collect::<Vec<_>>())),
            errors,
        }
    }

    /// What kubectl has logged so far.
    fn log(&self) -> String {
        let lines: Vec<_> = self.errors.try_iter().collect();
        lines.join("\n")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        // Fails if it has terminated already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // Fails if the test does not need the lines.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn start() -> Host {
    start_with("")
}

fn start_with(policies: &str) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let services = [Service::new("echo", "echo"), Service::new("slow", "slow")];
    std::fs::write(&file, manifests(&services) + policies).expect("a file");
    Galleria::run(&file).start()
}

#[test]
fn forwarded_requests_bypass_the_mesh() {
    let host = start();
    for upgrade in [Upgrade::WebSocket, Upgrade::Spdy] {
        let forward = Forward::start(&host, "deploy/echo", 8080, upgrade);
        let calls = host.calls().len();
        // Several connections, one after another and at once.
        for _ in 0..3 {
            let mut answer = ureq::get(forward.url("/some/path?a=b"))
                .call()
                .expect("an answer");
            let body = answer.body_mut().read_to_string().expect("text");
            assert!(body.contains("/some/path?a=b"), "{body}");
        }
        let large = "x".repeat(300_000);
        let url = forward.url("/");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let agent = ureq::agent();
                    let mut answer = agent.post(&url).send(&large).expect("an answer");
                    let body = answer.body_mut().read_to_string().expect("text");
                    assert_eq!(body.len(), large.len());
                });
            }
        });
        assert_eq!(host.calls().len(), calls, "the mesh logged no calls");
        let by_service = Forward::start(&host, "service/slow", 80, upgrade);
        assert_eq!(
            ureq::get(by_service.url("/?ms=10"))
                .call()
                .expect("an answer")
                .status(),
            200
        );
        let log = forward.log();
        assert!(!log.contains("fallback"), "{upgrade:?}: {log}");
    }
}

#[test]
fn undeclared_port_and_removed_pod_are_refused() {
    let host = start();
    for upgrade in [Upgrade::WebSocket, Upgrade::Spdy] {
        let forward = Forward::start(&host, "deploy/echo", 9, upgrade);
        assert!(ureq::get(forward.url("/")).call().is_err());
        let message = eventually("kubectl prints the reason", || {
            let line = forward.errors.try_recv().ok()?;
            line.contains("declares no port 9").then_some(line)
        });
        assert!(message.contains("the container of pod echo-"), "{message}");
    }
    let forward = Forward::start(&host, "deploy/echo", 8080, Upgrade::WebSocket);
    kubectl(&host, &["delete", "deploy", "echo", "-n", "test"]);
    eventually("the forwarded port is closed", || {
        let answered = ureq::get(forward.url("/")).call();
        answered.is_err().then_some(())
    });
    // The host is not affected.
    assert_eq!(host.get("/slow/?ms=1").status, 200);
}

/// As in a cluster, where the kubelet connects within the pod.
#[test]
fn forwarded_requests_pass_policies_that_refuse_everything() {
    let host = start_with(
        "---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: test}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: test}
spec: {host: echo, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nothing, namespace: test}
spec: {}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: nothing, namespace: test}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
",
    );
    assert_eq!(host.get("/echo/").status, 503);
    for upgrade in [Upgrade::WebSocket, Upgrade::Spdy] {
        let forward = Forward::start(&host, "deploy/echo", 8080, upgrade);
        let answer = ureq::get(forward.url("/")).call();
        assert_eq!(answer.expect("an answer").status(), 200, "{upgrade:?}");
    }
}
