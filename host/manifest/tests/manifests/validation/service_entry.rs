//! ServiceEntry.

use super::{Accepted, Refused, Warned, check};

#[test]
fn hosts() {
    let frame = "{hosts: $, resolution: NONE, ports: [{number: 80, name: http, protocol: HTTP}]}";
    check(
        "ServiceEntry",
        frame,
        &[
            ("[a.test]", Accepted),
            ("['*.test']", Accepted),
            ("['*x.test']", Warned("a part of a label")),
            ("['*']", Refused("every destination")),
            ("[]", Refused("must not be empty")),
            ("[a.test, b.test]", Accepted),
        ],
    );
}

#[test]
fn ports() {
    check(
        "ServiceEntry",
        "{hosts: [a.test], resolution: DNS, $}",
        &[
            ("location: MESH_EXTERNAL", Accepted),
            ("ports: []", Accepted),
            ("ports: [{number: 80, name: web}]", Accepted),
            ("ports: [{number: 80, name: web, protocol: ''}]", Accepted),
            (
                "ports: [{number: 80, name: web, protocol: HTTP, targetPort: 0}]",
                Accepted,
            ),
            (
                "ports: [{number: 3306, name: mysql, protocol: MySQL}]",
                Accepted,
            ),
            (
                "ports: [{number: 80, name: web, protocol: X}]",
                Refused("not a protocol"),
            ),
            (
                "ports: [{number: 80, name: a-name-longer-than-fifteen}]",
                Accepted,
            ),
            (
                "ports: [{number: 80, name: a_b}]",
                Refused("not a port name"),
            ),
            ("ports: [{number: 80}]", Refused("`name` is missing")),
            (
                "ports: [{number: 80, name: a}, {number: 81, name: a}]",
                Refused("the name `a` too"),
            ),
            (
                "ports: [{number: 80, name: a}, {number: 80, name: b}]",
                Refused("the number 80 too"),
            ),
        ],
    );
    check(
        "ServiceEntry",
        "{hosts: [a.test, b.test], $}",
        &[
            (
                "resolution: DNS, ports: [{number: 80, name: a, protocol: HTTP}]",
                Accepted,
            ),
            (
                "resolution: DNS, ports: [{number: 443, name: a, protocol: TLS}]",
                Accepted,
            ),
            (
                "resolution: NONE, ports: [{number: 80, name: a, protocol: TCP}]",
                Accepted,
            ),
            (
                "resolution: DNS, ports: [{number: 80, name: a, protocol: TCP}]",
                Refused("several hosts"),
            ),
            (
                "resolution: DNS, ports: [{number: 80, name: a}]",
                Refused("several hosts"),
            ),
        ],
    );
}

#[test]
fn addresses_of_endpoints_are_no_numbers() {
    let frame = "{hosts: [a.test], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}], endpoints: [{address: $}]}";
    let rows = [
        ("b.test", Accepted),
        ("1.2.3.4", Accepted),
        ("'80'", Refused("neither an IP address")),
        ("b.80", Refused("neither an IP address")),
    ];
    check("ServiceEntry", frame, &rows);
}

#[test]
fn resolutions() {
    let ports = "ports: [{number: 80, name: http, protocol: HTTP}]";
    let rows = [
        ("hosts: [a.test], resolution: STATIC", Accepted),
        (
            "hosts: [a.test], resolution: STATIC, endpoints: [{address: 1.2.3.4}]",
            Accepted,
        ),
        (
            "hosts: [a.test], resolution: STATIC, endpoints: [{address: b.test}]",
            Refused("not an IP address"),
        ),
        (
            "hosts: [a.test], resolution: NONE, endpoints: [{address: 1.2.3.4}]",
            Refused("has no endpoints"),
        ),
        (
            "hosts: [a.test], endpoints: [{address: 1.2.3.4}]",
            Warned("a cluster refuses endpoints without `resolution`"),
        ),
        (
            "hosts: ['*.test'], resolution: DNS",
            Refused("has no address"),
        ),
        (
            "hosts: ['*.test'], resolution: DNS, endpoints: [{address: b.test}]",
            Accepted,
        ),
        (
            "hosts: [a.test], resolution: DNS, endpoints: [{address: 'a b'}]",
            Refused("nor a host name"),
        ),
        (
            "hosts: [a.test], resolution: DNS, endpoints: [{address: b.test, ports: {http: 81}}]",
            Accepted,
        ),
        (
            "hosts: [a.test], resolution: DNS, endpoints: [{address: b.test, ports: {web: 81}}]",
            Warned("a cluster refuses the entry"),
        ),
        (
            "hosts: [a.test], resolution: DNS, endpoints: [{ports: {http: 81}}]",
            Refused("`address` is missing"),
        ),
        (
            "hosts: [a.test], resolution: DNS, endpoints: [{address: b.test, weight: 0}]",
            Accepted,
        ),
        (
            "hosts: [a.test], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.test}]",
            Accepted,
        ),
        (
            "hosts: [a.test], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.test}, {address: c.test}]",
            Refused("at most one"),
        ),
        ("hosts: ['*.test'], resolution: DYNAMIC_DNS", Accepted),
        ("hosts: ['*x.test'], resolution: DYNAMIC_DNS", Accepted),
        (
            "hosts: [a.test], resolution: DYNAMIC_DNS",
            Refused("for wildcards"),
        ),
        (
            "hosts: ['*.test'], resolution: DYNAMIC_DNS, addresses: [10.0.0.1]",
            Refused("remove it"),
        ),
        (
            "hosts: ['*.test'], resolution: DYNAMIC_DNS, endpoints: [{address: b.test}]",
            Refused("remove it"),
        ),
        (
            "hosts: [a.test], resolution: OTHER",
            Refused("not a resolution"),
        ),
        (
            "hosts: [a.test], resolution: STATIC, endpoints: [{address: 1.2.3.4}], workloadSelector: {labels: {a: b}}",
            Refused("mutually exclusive"),
        ),
    ];
    check("ServiceEntry", &format!("{{$, {ports}}}"), &rows);
}

#[test]
fn the_protocols_of_dynamic_dns() {
    check(
        "ServiceEntry",
        "{hosts: ['*.test'], resolution: DYNAMIC_DNS, ports: [{number: 80, name: a, protocol: $}]}",
        &[("GRPC", Accepted), ("TCP", Refused("DYNAMIC_DNS needs"))],
    );
}

#[test]
fn addresses_and_visibility() {
    let frame = "{hosts: [a.test], ports: [{number: 80, name: http, protocol: HTTP}], $}";
    check(
        "ServiceEntry",
        frame,
        &[
            (
                "addresses: [10.0.0.1, 10.0.0.0/8, '2001:db8::/32']",
                Accepted,
            ),
            (
                "addresses: [a.test]",
                Refused("neither an IP address nor a network"),
            ),
            (
                "addresses: [10.0.0.0/33]",
                Refused("neither an IP address nor a network"),
            ),
            (
                "addresses: [10.0.0.0/8], resolution: DNS",
                Warned("a cluster refuses networks"),
            ),
            ("addresses: [10.0.0.1], resolution: DNS", Accepted),
            ("exportTo: ['~']", Accepted),
            ("exportTo: ['~', '.']", Refused("`~` means none")),
            ("exportTo: ['*', '.']", Refused("`*` means every namespace")),
        ],
    );
}
