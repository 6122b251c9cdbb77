//! VirtualService.

use super::{Accepted, Answer, Refused, Warned, check};

/// Rows of the fields of one HTTP rule.
fn rules(rows: &[(&str, Answer)]) {
    check("VirtualService", "{hosts: [app], http: [{$}]}", rows);
}

/// Rows of fields next to the destination of a rule.
fn routed(rows: &[(&str, Answer)]) {
    let frame = "{hosts: [app], http: [{$, route: [{destination: {host: app}}]}]}";
    check("VirtualService", frame, rows);
}

/// Rows of a match.
fn matches(rows: &[(&str, Answer)]) {
    let frame = "{hosts: [app], http: [{match: [{$}], route: [{destination: {host: app}}]}]}";
    check("VirtualService", frame, rows);
}

#[test]
fn hosts() {
    let frame = "{hosts: $, gateways: [gw], http: [{route: [{destination: {host: app}}]}]}";
    check(
        "VirtualService",
        frame,
        &[
            ("[a.test, b.test]", Accepted),
            ("['*.a.test', '*.b.test']", Accepted),
            ("['*a.test', b.test]", Accepted),
            ("['*-a.test']", Accepted),
            ("[10.0.0.1]", Accepted),
            ("[a.test, a.test]", Refused("listed twice")),
            ("[a.test, A.test]", Refused("listed twice")),
            ("['*.test', a.test]", Refused("overlap")),
            ("[a.b.test, '*.b.test']", Refused("overlap")),
            ("['*.b.test', '*.test']", Refused("overlap")),
            (
                "['a*.test']",
                Refused("`*` is only allowed at the beginning"),
            ),
            (
                "['*.*.test']",
                Refused("`*` is only allowed at the beginning"),
            ),
            ("[a.1]", Refused("whose last label is not a number")),
            ("[a_b.test]", Refused("not a host name")),
            ("['']", Refused("must not be empty")),
        ],
    );
}

#[test]
fn the_parts_of_a_virtual_service() {
    check(
        "VirtualService",
        "{$}",
        &[
            (
                "hosts: [app]",
                Refused("at least one rule in http, tls or tcp"),
            ),
            ("hosts: [app], http: []", Refused("at least one rule")),
            (
                "hosts: [app], tcp: [{route: [{destination: {host: app}}]}]",
                Accepted,
            ),
            ("http: [{route: [{destination: {host: app}}]}]", Accepted),
            (
                "http: [{delegate: {name: other}}]",
                Refused("cannot delegate again"),
            ),
            (
                "gateways: [gw], http: [{route: [{destination: {host: app}}]}]",
                Refused("hosts"),
            ),
            (
                "tcp: [{route: [{destination: {host: app}}]}], http: [{route: [{destination: {host: app}}]}]",
                Refused("only http rules"),
            ),
        ],
    );
}

/// An excerpt of the first API is accepted, as nothing.
#[test]
fn no_rules_in_the_first_api() {
    let text = "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: it}\n\
                spec: {hosts: [app]}\n";
    let loaded = galleria_manifest::read_str(std::path::Path::new("it.yaml"), text);
    assert!(!loaded.has_errors());
    let found = &loaded.diagnostics[0];
    assert!(found.message.contains("a cluster refuses it"), "{found}");
}

#[test]
fn export_to() {
    let frame = "{hosts: [app], exportTo: $, http: [{route: [{destination: {host: app}}]}]}";
    check(
        "VirtualService",
        frame,
        &[
            ("['.']", Accepted),
            ("['*']", Accepted),
            ("['.', other]", Accepted),
            ("[other, other]", Refused("listed twice")),
            ("['*', other]", Refused("`*` means every namespace")),
            ("['~']", Warned("a cluster refuses `~`")),
            ("[a.b]", Refused("not a namespace")),
        ],
    );
}

#[test]
fn gateways() {
    let frame = "{hosts: [a.test], gateways: [$], http: [{route: [{destination: {host: app}}]}]}";
    check(
        "VirtualService",
        frame,
        &[
            ("gw", Accepted),
            ("shop/gw", Accepted),
            ("gw.shop", Accepted),
            ("./gw", Warned("a cluster refuses `./`")),
            ("shop/a.b", Refused("not the name of a Gateway")),
            ("shop/", Refused("not the name of a Gateway")),
        ],
    );
}

#[test]
fn claims_are_for_gateways() {
    let frame = "{hosts: [a.test], gateways: [$], http: [{match: [{headers: \
                 {'@request.auth.claims.group': {exact: a}}}], route: [{destination: {host: app}}]}]}";
    check(
        "VirtualService",
        frame,
        &[
            ("gw", Accepted),
            ("mesh", Refused("only possible at gateways")),
            ("gw, mesh", Refused("only possible at gateways")),
        ],
    );
}

#[test]
fn conditions() {
    matches(&[
        ("uri: {prefix: ''}", Accepted),
        ("uri: {exact: ''}", Warned("can never match")),
        ("uri: {regex: ''}", Refused("must not be empty")),
        ("uri: {regex: '('}", Refused("not a regular expression")),
        ("headers: {x: {exact: ''}}", Accepted),
        ("headers: {x: {}}", Accepted),
        (
            "headers: {x: {regex: '*'}}",
            Warned("a cluster refuses `*`"),
        ),
        ("headers: {x: {prefix: ''}}", Refused("must not be empty")),
        ("headers: {x: }", Refused("needs a condition")),
        ("withoutHeaders: {x: }", Accepted),
        ("withoutHeaders: {x: {regex: '*'}}", Accepted),
        (
            "withoutHeaders: {x: {prefix: ''}}",
            Refused("must not be empty"),
        ),
        ("headers: {':path': {exact: /a}}", Accepted),
        (
            "headers: {':other': {exact: a}}",
            Refused("not a header name"),
        ),
        ("headers: {'a b': {exact: a}}", Refused("not a header name")),
        (
            "queryParams: {a: {prefix: ''}}",
            Refused("must not be empty"),
        ),
        ("queryParams: {a: {exact: ''}}", Accepted),
        ("method: {prefix: ''}", Refused("must not be empty")),
        ("scheme: {prefix: ''}", Refused("must not be empty")),
        ("authority: {prefix: ''}", Refused("must not be empty")),
        ("sourceNamespace: a.b", Refused("not a valid name")),
        ("port: 65536", Refused("out of range")),
        ("gateways: [./gw]", Warned("a cluster refuses `./`")),
    ]);
    let long = format!("uri: {{regex: '{}'}}", "a".repeat(1025));
    matches(&[(&long, Refused("longer than 1024"))]);
    let long = format!("uri: {{regex: '{}'}}", "a".repeat(1024));
    matches(&[(&long, Accepted)]);
}

#[test]
fn one_action_each() {
    rules(&[
        ("redirect: {uri: /x}", Accepted),
        ("redirect: {derivePort: FROM_REQUEST_PORT}", Accepted),
        (
            "redirect: {uri: /x, redirectCode: 400}",
            Refused("not a redirect"),
        ),
        (
            "redirect: {uri: /x}, fault: {abort: {httpStatus: 500, percentage: {value: 1}}}",
            Refused("`fault` and `redirect`"),
        ),
        (
            "redirect: {uri: /x}, rewrite: {uri: /y}",
            Refused("`rewrite` and `redirect`"),
        ),
        (
            "redirect: {uri: /x}, directResponse: {status: 200}",
            Refused("mutually exclusive"),
        ),
        (
            "redirect: {uri: /x}, timeout: 1s",
            Warned("has no effect together"),
        ),
        ("directResponse: {status: 200}", Accepted),
        ("directResponse: {status: 199}", Refused("out of range")),
        (
            "directResponse: {status: 200}, rewrite: {uri: /y}",
            Refused("`rewrite` and `directResponse`"),
        ),
        (
            "directResponse: {status: 200}, fault: {delay: {fixedDelay: 1s, percentage: {value: 1}}}",
            Refused("`fault` and `directResponse`"),
        ),
        ("name: a", Refused("a rule needs one of")),
        ("route: []", Refused("at least one destination")),
        (
            "delegate: {name: d}, redirect: {uri: /x}",
            Refused("mutually exclusive"),
        ),
        (
            "delegate: {name: d}, route: [{destination: {host: app}}]",
            Refused("mutually exclusive"),
        ),
    ]);
}

#[test]
fn destinations() {
    rules(&[
        (
            "route: [{destination: {host: '*'}}]",
            Refused("`*` is none"),
        ),
        ("route: [{destination: {host: '*.a.test'}}]", Accepted),
        ("route: [{destination: {host: app, subset: V1}}]", Accepted),
        (
            "route: [{destination: {host: app, subset: a.b}}]",
            Refused("not a valid name"),
        ),
        (
            "route: [{destination: {host: app, port: {number: 0}}}]",
            Refused("out of range"),
        ),
        (
            "route: [{destination: {host: app}, weight: -1}]",
            Refused("must not be negative"),
        ),
        ("route: [{destination: {host: app}, weight: 0}]", Accepted),
        (
            "route: [{destination: {host: app}}, {destination: {host: b}}]",
            Refused("sum to 0"),
        ),
        ("route: [{weight: 1}]", Refused("`destination` is missing")),
    ]);
    routed(&[
        (
            "mirror: {host: app}, mirrors: [{destination: {host: app}}]",
            Refused("mutually exclusive"),
        ),
        (
            "mirrors: [{percentage: {value: 1}}]",
            Refused("`destination` is missing"),
        ),
        (
            "mirror: {host: app}, mirrorPercentage: {value: 101}",
            Refused("not a percentage"),
        ),
        (
            "mirrors: [{destination: {host: app}, percentage: {value: 101}}]",
            Refused("not a percentage"),
        ),
        ("mirror: {host: '*'}", Refused("`*` is none")),
    ]);
}

#[test]
fn headers() {
    routed(&[
        ("headers: {request: {set: {':authority': x}}}", Accepted),
        ("headers: {request: {set: {host: x}}}", Accepted),
        (
            "headers: {request: {set: {':authority': x}}}, rewrite: {authority: z}",
            Refused("keep the rewrite"),
        ),
        (
            "headers: {request: {add: {Host: x}}}, rewrite: {authority: z}",
            Refused("keep the rewrite"),
        ),
        (
            "headers: {request: {set: {host: x}, add: {':authority': x}}}",
            Refused("set twice"),
        ),
        (
            "headers: {request: {set: {':path': x}}}",
            Refused("of the pseudo headers"),
        ),
        (
            "headers: {request: {set: {'': x}}}",
            Refused("not a header name"),
        ),
        (
            "headers: {request: {remove: [host]}}",
            Refused("cannot be removed"),
        ),
        (
            "headers: {request: {remove: [':path']}}",
            Refused("not a header name"),
        ),
        (
            "headers: {response: {set: {host: x}}}",
            Refused("a response has no such header"),
        ),
        (
            "headers: {response: {add: {':status': x}}}",
            Refused("a response has no such header"),
        ),
        (
            "headers: {response: {remove: [Host]}}",
            Refused("cannot be removed"),
        ),
        ("headers: {request: {set: {x: '100%%'}}}", Accepted),
        (
            "headers: {request: {set: {x: '100%'}}}",
            Refused("write `%%`"),
        ),
        (
            "headers: {request: {set: {x: '%REQ(a'}}}",
            Refused("the parenthesis of `%REQ(` is not closed"),
        ),
        (
            "headers: {request: {set: {x: \"a\\nb\"}}}",
            Refused("one line of text"),
        ),
    ]);
}

#[test]
fn rewrites() {
    routed(&[
        ("rewrite: {uri: /, authority: a}", Accepted),
        ("rewrite: {}", Refused("a rewrite needs")),
        (
            "rewrite: {uri: /, uriRegexRewrite: {match: a, rewrite: b}}",
            Refused("mutually exclusive"),
        ),
        (
            "rewrite: {uriRegexRewrite: {match: a}}",
            Refused("`rewrite` is missing"),
        ),
        (
            "rewrite: {uriRegexRewrite: {match: a, rewrite: ''}}",
            Refused("must not be empty"),
        ),
        (
            "rewrite: {uriRegexRewrite: {match: '', rewrite: a}}",
            Refused("must not be empty"),
        ),
    ]);
}

#[test]
fn retries_and_timeouts() {
    routed(&[
        ("retries: {attempts: 0}", Accepted),
        (
            "retries: {attempts: 1, perTryTimeout: 1s, retryOn: '5xx,503'}",
            Accepted,
        ),
        (
            "retries: {attempts: 0, perTryTimeout: 1s}",
            Refused("contradicts `attempts: 0`"),
        ),
        (
            "retries: {attempts: 0, retryOn: 5xx}",
            Refused("contradicts `attempts: 0`"),
        ),
        (
            "retries: {attempts: 0, retryRemoteLocalities: true}",
            Refused("contradicts `attempts: 0`"),
        ),
        (
            "retries: {retryOn: 5xx}",
            Warned("a cluster refuses this without `attempts`"),
        ),
        ("retries: {attempts: -1}", Refused("must not be negative")),
        (
            "retries: {attempts: 1, retryOn: 6xx}",
            Refused("not a retry condition"),
        ),
        (
            "retries: {attempts: 1, retryOn: '599'}",
            Refused("not a retry condition"),
        ),
        (
            "retries: {attempts: 1, perTryTimeout: 0s}",
            Warned("a cluster refuses a timeout of zero"),
        ),
        (
            "retries: {attempts: 1, backoff: 0s}",
            Refused("at least 1ms"),
        ),
        ("timeout: 1s", Accepted),
        ("timeout: 0s", Warned("a cluster refuses a timeout of zero")),
        ("timeout: 100us", Refused("at least 1ms")),
        ("timeout: 1.5ms", Refused("whole number of milliseconds")),
        ("timeout: -1s", Refused("negative")),
    ]);
}

#[test]
fn cors() {
    routed(&[
        ("corsPolicy: {allowMethods: [GET, '*']}", Accepted),
        (
            "corsPolicy: {allowMethods: [FOO]}",
            Refused("not a method for CORS"),
        ),
        (
            "corsPolicy: {allowMethods: [get]}",
            Refused("write it in upper case, as `GET`"),
        ),
        (
            "corsPolicy: {allowHeaders: ['*'], exposeHeaders: [x-a]}",
            Accepted,
        ),
        (
            "corsPolicy: {allowHeaders: ['a b']}",
            Refused("not a header name"),
        ),
        (
            "corsPolicy: {allowOrigins: [{exact: ''}]}",
            Refused("must not be empty"),
        ),
        (
            "corsPolicy: {allowOrigins: [{prefix: ''}]}",
            Refused("must not be empty"),
        ),
        ("corsPolicy: {maxAge: 1500ms}", Refused("whole seconds")),
        ("corsPolicy: {maxAge: 0s}", Refused("at least 1ms")),
    ]);
}

#[test]
fn faults() {
    routed(&[
        ("fault: {}", Refused("delay or abort")),
        (
            "fault: {abort: {httpStatus: 200, percentage: {value: 1}}}",
            Accepted,
        ),
        (
            "fault: {abort: {httpStatus: 599, percentage: {value: 1}}}",
            Accepted,
        ),
        (
            "fault: {abort: {httpStatus: 199, percentage: {value: 1}}}",
            Refused("out of range"),
        ),
        (
            "fault: {abort: {httpStatus: 600, percentage: {value: 1}}}",
            Refused("out of range"),
        ),
        (
            "fault: {abort: {percentage: {value: 1}}}",
            Warned("no status is set"),
        ),
        (
            "fault: {abort: {http2Error: a, percentage: {value: 1}}}",
            Refused("nor in a cluster"),
        ),
        (
            "fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}}",
            Accepted,
        ),
        (
            "fault: {abort: {grpcStatus: 14, percentage: {value: 1}}}",
            Warned("write `UNAVAILABLE`"),
        ),
        (
            "fault: {abort: {grpcStatus: NONE, percentage: {value: 1}}}",
            Refused("not a gRPC status"),
        ),
        (
            "fault: {abort: {httpStatus: 500, percentage: {value: 101}}}",
            Refused("not a percentage"),
        ),
        (
            "fault: {abort: {httpStatus: 500, percentage: {value: 0.00001}}}",
            Refused("too small"),
        ),
        (
            "fault: {delay: {fixedDelay: 0s, percentage: {value: 1}}}",
            Refused("at least 1ms"),
        ),
        (
            "fault: {delay: {percentage: {value: 1}}}",
            Warned("no delay is set"),
        ),
        (
            "fault: {delay: {exponentialDelay: 1s, percentage: {value: 1}}}",
            Refused("nor in a cluster"),
        ),
    ]);
}

#[test]
fn empty_conditions_match_everything() {
    matches(&[
        ("uri: {}", Accepted),
        ("method: {}, scheme: {}, authority: {}", Accepted),
        ("port: 0", Accepted),
        ("uri: {exact: /, prefix: /}", Refused("exactly one")),
    ]);
}

#[test]
fn a_route_without_destinations_is_none() {
    rules(&[
        ("route: []", Refused("at least one destination")),
        ("route: [], delegate: {name: d}", Accepted),
        ("route: [], redirect: {uri: /x}", Accepted),
        ("route: [], directResponse: {status: 200}", Accepted),
        (
            "route: [], redirect: {uri: /x}, timeout: 1s",
            Warned("has no effect together with `redirect`"),
        ),
    ]);
}

#[test]
fn only_prefixes_are_replaced_in_redirects() {
    let rule = |uris: &str| format!("match: [{uris}], redirect: {{prefixRewrite: /y}}");
    for (uris, answer) in [
        ("{uri: {prefix: /x}}", Accepted),
        ("{uri: {prefix: /x}}, {method: {exact: GET}}", Accepted),
        ("{uri: {}}", Refused("needs a prefix")),
        ("{uri: {exact: /x}}", Refused("needs a prefix")),
        ("{uri: {regex: /x}}", Refused("needs a prefix")),
        ("{uri: {prefix: /x}}, {uri: {}}", Refused("needs a prefix")),
    ] {
        rules(&[(&rule(uris), answer)]);
    }
}

#[test]
fn tcp_rules() {
    let frame = "{hosts: [a.test], tcp: [{$}]}";
    let to = "route: [{destination: {host: app}}]";
    let rows = [
        (to.to_owned(), Accepted),
        (
            format!("match: [{{port: 80, sourceLabels: {{a: b}}}}], {to}"),
            Accepted,
        ),
        (
            format!("match: [{{port: 65536}}], {to}"),
            Refused("out of range"),
        ),
        (
            format!("match: [{{destinationSubnets: [10.0.0.0/33]}}], {to}"),
            Refused("neither an IP address"),
        ),
        (format!("match: {{}}, {to}"), Refused("expected a list")),
        (
            "match: [{port: 80}]".to_owned(),
            Refused("`route` is missing"),
        ),
        ("route: []".to_owned(), Refused("at least one destination")),
        (
            "route: [{destination: {host: app, port: 80}}]".to_owned(),
            Refused("expected a mapping"),
        ),
    ];
    for (row, answer) in rows {
        check("VirtualService", frame, &[(&row, answer)]);
    }
}

#[test]
fn all_hosts_are_for_gateways() {
    let frame = "{hosts: ['*'], $http: [{route: [{destination: {host: app}}]}]}";
    check(
        "VirtualService",
        frame,
        &[
            ("", Refused("only possible at gateways")),
            (
                "gateways: [mesh, gw], ",
                Refused("only possible at gateways"),
            ),
            ("gateways: [gw], ", Accepted),
            ("gateways: ['5'], ", Refused("not the name of a Gateway")),
        ],
    );
}
