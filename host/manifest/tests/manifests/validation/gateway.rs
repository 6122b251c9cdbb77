//! Gateway.

use super::{Accepted, Refused, Warned, check};

#[test]
fn hosts_of_servers() {
    let frame = "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [$]}]}";
    check(
        "Gateway",
        frame,
        &[
            ("a.test", Accepted),
            ("'*'", Accepted),
            ("'*.test'", Accepted),
            ("'*/*'", Accepted),
            ("shop/a.test", Accepted),
            ("./a.test", Accepted),
            ("10.0.0.1", Accepted),
            ("shop", Refused("full name with dots")),
            ("ns/shop", Refused("full name with dots")),
            ("'*a.test'", Refused("full name with dots")),
            ("a.b/a.test", Refused("not a server's host")),
            ("shop/", Refused("not a server's host")),
        ],
    );
}

#[test]
fn ports_of_servers() {
    let frame = "{servers: [{port: {$}, hosts: [a.test]}]}";
    check(
        "Gateway",
        frame,
        &[
            ("number: 80, name: http, protocol: http", Accepted),
            ("number: 80, name: http, protocol: HTTP_PROXY", Accepted),
            (
                "number: 80, name: redis, protocol: REDIS",
                Warned("speaks HTTP"),
            ),
            ("number: 80, name: http", Refused("`protocol` is missing")),
            (
                "number: 80, name: http, protocol: X",
                Refused("not a protocol"),
            ),
            ("number: 80, protocol: HTTP", Refused("`name` is missing")),
            (
                "number: 80, name: http, protocol: HTTP, targetPort: 8080",
                Refused("has no meaning"),
            ),
            (
                "number: 0, name: http, protocol: HTTP",
                Refused("out of range"),
            ),
            (
                "number: 443, name: https, protocol: HTTPS",
                Refused("`tls` is missing"),
            ),
        ],
    );
    let two = "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.test]}, \
               {port: {number: 81, name: $, protocol: HTTP}, hosts: [b.test]}]}";
    check(
        "Gateway",
        two,
        &[("http", Refused("its own name")), ("http2", Accepted)],
    );
    check(
        "Gateway",
        "{servers: $}",
        &[("[]", Refused("must not be empty"))],
    );
}

#[test]
fn certificates_of_servers() {
    let frame = "{servers: [{port: {number: 443, name: https, protocol: HTTPS}, tls: {$}, hosts: [a.test]}]}";
    check(
        "Gateway",
        frame,
        &[
            ("mode: SIMPLE, credentialName: a", Accepted),
            (
                "mode: SIMPLE, serverCertificate: /c.pem, privateKey: /k.pem",
                Accepted,
            ),
            ("mode: SIMPLE", Refused("needs a certificate")),
            (
                "mode: MUTUAL, serverCertificate: /c.pem, privateKey: /k.pem",
                Refused("authorities of clients"),
            ),
        ],
    );
}

#[test]
fn tls_of_servers() {
    let frame = "{servers: [{port: {number: 443, name: a, protocol: $}, hosts: [a.test], tls: {mode: PASSTHROUGH}}]}";
    check(
        "Gateway",
        frame,
        &[
            ("TLS", Accepted),
            ("TCP", Refused("takes no certificate")),
            ("MONGO", Refused("takes no certificate")),
        ],
    );
    let frame = "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.test], bind: $, tls: {mode: PASSTHROUGH}}]}";
    check(
        "Gateway",
        frame,
        &[("nowhere", Refused("not an IP address"))],
    );
}

#[test]
fn the_identity_of_the_gateway_is_its_only_certificate() {
    let frame = "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a.test], tls: {mode: ISTIO_MUTUAL, $}}]}";
    check(
        "Gateway",
        frame,
        &[
            ("minProtocolVersion: TLSV1_3", Accepted),
            ("credentialName: s", Refused("must be absent")),
            ("credentialNames: [s]", Refused("must be absent")),
            ("serverCertificate: /c.pem", Refused("must be absent")),
            ("privateKey: /k.pem", Refused("must be absent")),
            ("caCertificates: /ca.pem", Refused("must be absent")),
            ("caCertCredentialName: s", Warned("has no effect")),
        ],
    );
}
