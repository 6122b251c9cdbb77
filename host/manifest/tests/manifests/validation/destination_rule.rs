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
            ("host: 10.0.0.1", Refused("is an address")),
            ("host: '::1'", Refused("is an address")),
            ("host: app, subsets: 5", Refused("expected a list")),
            (
                "host: app, workloadSelector: text",
                Refused("expected a mapping"),
            ),
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

#[test]
fn fields_without_effect_are_checked_too() {
    policies(&[
        ("proxyProtocol: {version: V2}", Accepted),
        ("proxyProtocol: {version: V3}", Refused("not a version")),
        ("retryBudget: {percent: 20}", Accepted),
        ("retryBudget: {percent: 101}", Refused("must be 0 to 100")),
        (
            "tunnel: {protocol: POST, targetHost: a.test, targetPort: 80}",
            Accepted,
        ),
        (
            "tunnel: {targetHost: 1.2.3.4, targetPort: 80}",
            Warned("no effect"),
        ),
        (
            "tunnel: {targetHost: '80', targetPort: 80}",
            Refused("neither an IP address"),
        ),
        (
            "tunnel: {targetHost: a.test}",
            Refused("`targetPort` is missing"),
        ),
        (
            "tunnel: {protocol: GET, targetHost: a.test, targetPort: 80}",
            Refused("not a protocol"),
        ),
        (
            "connectionPool: {tcp: {tcpKeepalive: {probes: x}}}",
            Refused("expected an integer"),
        ),
        (
            "connectionPool: {tcp: {tcpKeepalive: {time: 0s}}}",
            Refused("at least 1ms"),
        ),
        ("connectionPool: {tcp: {idleTimeout: 0s}}", Accepted),
        (
            "connectionPool: {http: {maxRequestsPerConnection: -1}}",
            Refused("must not be negative"),
        ),
        (
            "connectionPool: {http: {h2UpgradePolicy: X}}",
            Refused("not a policy"),
        ),
        (
            "connectionPool: {http: {http2KeepAlive: {interval: 1s}}}",
            Refused("`timeout` is missing"),
        ),
        (
            "outlierDetection: {outlierDetectionHttpErrorCodes: [99]}",
            Refused("must be 100 to 599"),
        ),
        (
            "loadBalancer: {simple: RANDOM, warmup: {duration: 1s, aggression: 0}}",
            Refused("above 0"),
        ),
        (
            "loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 0s, attributes: [{name: b}, {name: b}]}}}",
            Refused("has this name"),
        ),
        (
            "loadBalancer: {consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 0}}}",
            Accepted,
        ),
    ]);
}

#[test]
fn localities() {
    check(
        "DestinationRule",
        "{host: app, trafficPolicy: {loadBalancer: {localityLbSetting: {$}}}}",
        &[
            ("enabled: true", Accepted),
            ("failover: [{from: a, to: b}]", Accepted),
            ("failover: [{from: a, to: a}]", Refused("another region")),
            ("failover: [{from: a/b, to: c}]", Refused("without a zone")),
            ("failover: [{from: '*', to: c}]", Refused("without a zone")),
            ("distribute: [{from: a/b, to: {a/b: 60, c: 40}}]", Accepted),
            ("distribute: [{from: a/*, to: {a/*: 100}}]", Accepted),
            (
                "distribute: [{from: a, to: {a: 60}}]",
                Refused("must sum to 100"),
            ),
            (
                "distribute: [{from: a, to: {a: 0, b: 100}}]",
                Refused("must be 1 to 100"),
            ),
            (
                "distribute: [{from: a, to: {a: 50, a/b: 50}}]",
                Refused("overlap"),
            ),
            (
                "distribute: [{from: a, to: {b: 100}}, {from: a/b, to: {b: 100}}]",
                Refused("overlap"),
            ),
            (
                "distribute: [{from: 'a*b', to: {b: 100}}]",
                Refused("not a locality"),
            ),
            (
                "distribute: [{from: a//b, to: {b: 100}}]",
                Refused("not a locality"),
            ),
            (
                "distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]",
                Refused("mutually exclusive"),
            ),
            (
                "failover: [{from: a, to: b}], failoverPriority: [topology.kubernetes.io/zone]",
                Refused("already orders"),
            ),
            ("failoverPriority: [version=v1]", Accepted),
        ],
    );
}
