//! DestinationRule.

use super::{Accepted, Answer, Refused, Warned, check};

/// Rows of a traffic policy.
fn policies(rows: &[(&str, Answer)]) {
    check("DestinationRule", "{host: app, trafficPolicy: {$}}", rows);
}

#[test]
fn the_parts_of_a_rule() {
    check(
        "DestinationRule",
        "{$}",
        &[
            ("host: app", Accepted),
            ("host: '*.test'", Accepted),
            ("host: '*'", Accepted),
            ("host: a.1", Refused("whose last label")),
            (
                "trafficPolicy: {tls: {mode: DISABLE}}",
                Refused("`host` is missing"),
            ),
            (
                "host: app, subsets: [{name: V1, labels: {version: v1}}]",
                Accepted,
            ),
            (
                "host: app, subsets: [{name: v1}, {name: v1}]",
                Refused("listed twice"),
            ),
            (
                "host: app, subsets: [{name: a.b}]",
                Refused("not a valid name"),
            ),
            (
                "host: app, subsets: [{name: ''}]",
                Refused("must not be empty"),
            ),
            (
                "host: app, subsets: [{name: v1, labels: {version: 'a b'}}]",
                Refused("not a label value"),
            ),
            (
                "host: app, subsets: [{name: v1, trafficPolicy: {}}]",
                Refused("trafficPolicy is empty"),
            ),
            ("host: app, exportTo: ['*', a]", Refused("every namespace")),
            (
                "host: app, exportTo: ['~']",
                Warned("a cluster refuses `~`"),
            ),
            (
                "host: app, workloadSelector: {matchLabels: {a: b}}, exportTo: ['.']",
                Accepted,
            ),
            (
                "host: app, workloadSelector: {matchLabels: {a: b}}, exportTo: ['*']",
                Refused("one namespace"),
            ),
        ],
    );
    policies(&[
        ("", Refused("trafficPolicy is empty")),
        (
            "portLevelSettings: [{port: {number: 80}}]",
            Refused("portLevelSettings is empty"),
        ),
        (
            "portLevelSettings: [{tls: {mode: DISABLE}}]",
            Refused("`port` is missing"),
        ),
        (
            "portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]",
            Accepted,
        ),
        (
            "tunnel: {targetHost: a.test, targetPort: 1}, proxyProtocol: {}",
            Refused("mutually exclusive"),
        ),
    ]);
}

#[test]
fn pools_and_ejection() {
    policies(&[
        ("connectionPool: {}", Refused("connectionPool is empty")),
        (
            "connectionPool: {tcp: {maxConnections: -1}}",
            Refused("must not be negative"),
        ),
        (
            "connectionPool: {tcp: {connectTimeout: 0s}}",
            Refused("at least 1ms"),
        ),
        (
            "connectionPool: {http: {maxRetries: -1}}",
            Refused("must not be negative"),
        ),
        (
            "connectionPool: {http: {idleTimeout: 0s}}",
            Warned("a cluster refuses a timeout of zero"),
        ),
        (
            "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
            Refused("contradicts"),
        ),
        ("outlierDetection: {}", Accepted),
        ("outlierDetection: {interval: 0s}", Refused("at least 1ms")),
        (
            "outlierDetection: {maxEjectionPercent: 101}",
            Refused("out of range"),
        ),
        (
            "outlierDetection: {minHealthPercent: -1}",
            Refused("must not be negative"),
        ),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 1}",
            Refused("splitExternalLocalOriginErrors: true"),
        ),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 1, splitExternalLocalOriginErrors: true}",
            Accepted,
        ),
    ]);
}

#[test]
fn load_balancers() {
    policies(&[
        (
            "loadBalancer: {consistentHash: {httpCookie: {ttl: 0s}}}",
            Refused("`name` is missing"),
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 8}}}",
            Accepted,
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 8, ringHash: {}}}",
            Refused("mutually exclusive"),
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, minimumRingSize: 8, maglev: {tableSize: 7}}}",
            Refused("mutually exclusive"),
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}",
            Accepted,
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {}}}",
            Refused("`tableSize` is missing"),
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 8}}}",
            Refused("use a prime"),
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 5000011}}}",
            Refused("use a prime"),
        ),
        (
            "loadBalancer: {simple: ROUND_ROBIN, warmup: {}}",
            Refused("`duration` is missing"),
        ),
        (
            "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 0s}}",
            Refused("at least 1ms"),
        ),
    ]);
}

#[test]
fn tls() {
    policies(&[
        ("tls: {mode: SIMPLE, caCertificates: /x.pem}", Accepted),
        ("tls: {mode: SIMPLE, insecureSkipVerify: true}", Accepted),
        (
            "tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /x.pem}",
            Refused("remove insecureSkipVerify"),
        ),
        (
            "tls: {mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [a]}",
            Refused("remove insecureSkipVerify"),
        ),
        (
            "tls: {mode: SIMPLE, insecureSkipVerify: true, credentialName: a}",
            Refused("remove insecureSkipVerify"),
        ),
        (
            "tls: {mode: MUTUAL, insecureSkipVerify: true, clientCertificate: /c, privateKey: /k, caCertificates: /x}",
            Refused("remove insecureSkipVerify"),
        ),
        (
            "tls: {mode: MUTUAL, insecureSkipVerify: true, clientCertificate: /c, privateKey: /k}",
            Accepted,
        ),
        (
            "tls: {mode: MUTUAL, clientCertificate: /c}",
            Refused("`privateKey` is missing"),
        ),
        (
            "tls: {mode: SIMPLE, credentialName: a, caCertificates: /x}",
            Refused("whose Secret has it"),
        ),
        (
            "tls: {mode: ISTIO_MUTUAL, clientCertificate: /c}",
            Warned("has no effect with ISTIO_MUTUAL"),
        ),
    ]);
}
