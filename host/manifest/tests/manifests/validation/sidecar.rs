//! Sidecar.

use super::{Accepted, Refused, Warned, check};

#[test]
fn listeners() {
    check(
        "Sidecar",
        "{$}",
        &[
            ("", Refused("without settings")),
            ("outboundTrafficPolicy: {}", Accepted),
            (
                "outboundTrafficPolicy: {mode: REGISTRY_ONLY, egressProxy: {host: a.test, port: {number: 80}}}",
                Refused("ALLOW_ANY"),
            ),
            (
                "workloadSelector: {labels: {}}, egress: [{hosts: ['./*']}]",
                Warned("every workload"),
            ),
            ("egress: [{hosts: []}]", Refused("must not be empty")),
            (
                "egress: [{port: {number: 80, protocol: HTTP, name: a}, hosts: ['./*']}, {hosts: ['*/*']}]",
                Accepted,
            ),
            (
                "egress: [{hosts: ['*/*']}, {port: {number: 80}, hosts: ['./*']}]",
                Refused("must be the last"),
            ),
            (
                "egress: [{hosts: ['*/*']}, {hosts: ['./*']}]",
                Refused("must be the last"),
            ),
            (
                "egress: [{port: {number: 80}, hosts: ['*/*']}, {port: {number: 80}, hosts: ['./*']}]",
                Refused("earlier listener"),
            ),
            (
                "egress: [{port: {number: 80, protocol: X}, hosts: ['*/*']}]",
                Refused("not a protocol"),
            ),
            (
                "egress: [{port: {number: 80, targetPort: 8080}, hosts: ['*/*']}]",
                Refused("has no meaning"),
            ),
        ],
    );
}

#[test]
fn hosts() {
    check(
        "Sidecar",
        "{egress: [{hosts: ['$']}]}",
        &[
            ("*/*", Accepted),
            ("./*", Accepted),
            ("~/*", Accepted),
            ("~shop/*", Accepted),
            ("~./a.test", Accepted),
            ("~*/*.test", Accepted),
            ("~~/*", Refused("not a namespace")),
            ("shop/a.test", Accepted),
            ("shop/*.test", Accepted),
            ("shop/app", Refused("full name")),
            ("shop/*a.test", Refused("not a host")),
            ("app", Refused("no namespace")),
            ("a.b/c.test", Refused("not a namespace")),
        ],
    );
}

#[test]
fn inbound_listeners() {
    check(
        "Sidecar",
        "{ingress: [{$}]}",
        &[
            ("port: {number: 80, protocol: HTTP, name: a}", Accepted),
            (
                "port: {number: 80}, defaultEndpoint: '127.0.0.1:8080', bind: 0.0.0.0, captureMode: NONE",
                Accepted,
            ),
            ("port: {number: 80}, defaultEndpoint: unix:///a", Accepted),
            ("", Refused("`port` is missing")),
            ("port: {number: 80}, bind: x", Refused("not an IP address")),
            (
                "port: {number: 80}, captureMode: X",
                Refused("not a capture mode"),
            ),
            (
                "port: {number: 80}, defaultEndpoint: '10.0.0.1:80'",
                Refused("not an endpoint"),
            ),
            (
                "port: {number: 80}, connectionPool: {}",
                Refused("connectionPool is empty"),
            ),
            (
                "port: {number: 80}}, {port: {number: 80}",
                Refused("has this port"),
            ),
            (
                "port: {number: 443, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: a}",
                Refused("does not have `credentialName`"),
            ),
        ],
    );
    check(
        "Sidecar",
        "{$}",
        &[("egress: [], ingress: []", Refused("without settings"))],
    );
    let frame = "{workloadSelector: {$}, egress: [{hosts: ['./*']}]}";
    check("Sidecar", frame, &[("", Warned("every workload"))]);
}
