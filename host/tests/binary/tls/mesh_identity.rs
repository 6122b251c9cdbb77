//! Servers that present the identity of the gateway, and what services receive of the
//! certificates of clients.

use std::fs;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;

use super::authority::Authority;
use super::client::Client;
use super::{HTTP, echo_behind, received, secret, server, start};
use crate::support::{Galleria, MeshAuthority};

const GATEWAY_ID: &str =
    "spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";
const CLIENT_ID: &str = "spiffe://cluster.local/ns/elsewhere/sa/client";

/// Presents nothing.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[test]
fn server_with_the_identity_of_the_gateway_accepts_clients_of_the_mesh() {
    let (mesh, other) = (MeshAuthority::new(), MeshAuthority::new());
    let yaml = echo_behind(&server(443, "['*']", "{mode: ISTIO_MUTUAL}"));
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("test.yaml"), &yaml).expect("a file");
    let host = Galleria::run(folder.path())
        .argument(&mesh.argument())
        .start();
    let address = host.listener(443);
    let client = |authority: &MeshAuthority, year| {
        let mut config = authority.issue(CLIENT_ID, year).client();
        config.alpn_protocols = vec![b"istio".to_vec(), b"http/1.1".to_vec()];
        Client { config }
    };
    let answer = client(&mesh, 2099).get(&address, "a.example.com", "/app/");
    let header = received(&answer, "x-forwarded-client-cert").join(" ");
    assert!(
        header.starts_with(&format!("By={GATEWAY_ID};Hash=")),
        "{header}"
    );
    assert!(header.ends_with(&format!("URI={CLIENT_ID}")), "{header}");
    let refused = |client: Client| {
        let answer = client.try_get(&address, "a.example.com", "a.example.com", "/app/");
        answer.expect_err("refused")
    };
    refused(client(&other, 2099));
    refused(client(&mesh, 2021));
    let mut without = client(&mesh, 2099);
    without.config.client_auth_cert_resolver = Arc::new(NoCertificate);
    refused(without);

    // Without an authority that clients share, the server is not opened.
    let (alone, _folder) = start(&(yaml.replace("servers:\n", &format!("servers:\n{HTTP}"))));
    let problems = alone.report()["problems"].to_string();
    assert!(problems.contains("--ca-dir"), "{problems}");
}

#[test]
fn topology_decides_what_services_receive_of_client_certificates() {
    let authority = Authority::new();
    let identity = authority.issue(&["a.example.com"]);
    let pem = authority.pem();
    let entries = [
        ("tls.crt", identity.certificate.as_str()),
        ("tls.key", &identity.key),
        ("ca.crt", &pem),
    ];
    let servers =
        HTTP.to_owned() + &server(443, "['*']", "{mode: OPTIONAL_MUTUAL, credentialName: s}");
    let yaml = secret("s", &entries) + &echo_behind(&servers);
    let forged = "Hash=forged";
    // What a client with a certificate, one without, and one without TLS send.
    for (mode, with, without, plain) in [
        ("UNDEFINED", "Hash=", "", ""),
        ("SANITIZE", "", "", ""),
        ("FORWARD_ONLY", forged, "", ""),
        ("APPEND_FORWARD", "Hash=forged,Hash=", "", ""),
        ("ALWAYS_FORWARD_ONLY", forged, forged, forged),
    ] {
        let config = format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    defaultConfig:\n      gatewayTopology: {{forwardClientCertDetails: {mode}}}\n"
        );
        let (host, _folder) = start(&(yaml.clone() + &config));
        let address = host.listener(443);
        let client = authority.presenting(&authority.issue(&["client"]));
        let name = "a.example.com";
        let of = |answer| received(&answer, "x-forwarded-client-cert").join("|");
        let shown = of(client.get(&address, name, "/app/"));
        assert!(shown.starts_with(with), "{mode}: {shown}");
        assert_eq!(with.is_empty(), shown.is_empty(), "{mode}: {shown}");
        assert_eq!(
            of(authority.client().get(&address, name, "/app/")),
            without,
            "{mode}"
        );
        let answer = host.get_with("/app/", &[("x-forwarded-client-cert", forged)]);
        assert_eq!(of(answer), plain, "{mode}");
    }
}
