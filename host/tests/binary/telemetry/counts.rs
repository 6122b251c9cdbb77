//! Metrics about what the process reads: compiled code and certificates.

use super::start;
use crate::support::{Galleria, Service, manifests};

#[test]
fn second_start_loads_cached_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("good", "hello")])).expect("a file");
    let data = folder.path().join("data");
    for (result, other) in [("compiled", "cached"), ("cached", "compiled")] {
        let host = Galleria::run(&file)
            .data(&data)
            .without_shared_cache()
            .start();
        let loads = |result| {
            let result = format!("result=\"{result}\"");
            host.metric("galleria_component_loads_total", &[&result])
        };
        assert_eq!((loads(result), loads(other)), (1.0, 0.0));
    }
}

#[test]
fn certificate_expiry_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    params.not_after = rcgen::date_time_ymd(2031, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate");
    std::fs::write(&file, authority.pem()).expect("a file");
    let tls = format!(
        "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: test}}
spec:
  host: app
  trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {}}}}}
",
        file.display()
    );
    let host = start(&(manifests(&[Service::new("app", "hello")]) + &tls));
    let name = "galleria_certificate_expiry_timestamp_seconds";
    let of_file = format!("certificate=\"{}\"", file.display());
    assert_eq!(host.metric(name, &[&of_file]), 1_924_992_000.0);
    let of_admin = host.metric(name, &["certificate=\"admin\""]);
    assert!(of_admin > 1_924_992_000.0, "{of_admin}");
}
