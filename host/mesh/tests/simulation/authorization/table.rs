//! The table: what each field of a rule matches. Every row is a request to `shop/app`.

use super::{mesh, policy};

/// The rules of a policy, and requests with `true` where they match.
type Group = (&'static str, &'static [(&'static str, bool)]);

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    // Rules: any of them; no rule matches nothing, an empty rule everything.
    ("rules: [{}]", &[("GET app/", true), ("DELETE app/x from=shop/ui", true)]),
    ("rules: []", &[("GET app/", false), ("GET app/ from=shop/ui", false)]),
    ("rules:\n- to: [{operation: {methods: [GET]}}]\n- to: [{operation: {paths: [/open]}}]", &[
        ("GET app/x", true), ("POST app/open", true), ("POST app/x", false),
    ]),
    // A rule: from and to and when.
    ("rules:\n- from: [{source: {namespaces: [bank]}}]\n  to: [{operation: {methods: [GET]}}]\n  \
      when: [{key: 'request.headers[x]', values: [a]}]", &[
        ("GET app/ from=bank/b h:x=a", true), ("GET app/ from=bank/b", false),
        ("POST app/ from=bank/b h:x=a", false), ("GET app/ from=shop/b h:x=a", false),
    ]),
    // Lists are alternatives, the fields of an entry must all match.
    ("rules:\n- from: [{source: {namespaces: [bank]}}, {source: {principals: [cluster.local/ns/shop/sa/ui]}}]", &[
        ("GET app/ from=bank/x", true), ("GET app/ from=shop/ui", true), ("GET app/ from=shop/x", false),
    ]),
    ("rules:\n- to: [{operation: {methods: [GET], paths: [/a]}}, {operation: {methods: [POST], paths: [/b]}}]", &[
        ("GET app/a", true), ("POST app/b", true), ("GET app/b", false), ("POST app/a", false),
    ]),
    ("rules:\n- when: [{key: 'request.headers[a]', values: ['1']}, {key: 'request.headers[b]', values: ['2']}]", &[
        ("GET app/ h:a=1 h:b=2", true), ("GET app/ h:a=1", false), ("GET app/ h:b=2", false),
    ]),
    // Principals.
    ("rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/ui]}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=shop/ui2", false), ("GET app/ from=shop/u", false),
        ("GET app/ from=bank/ui", false), ("GET app/ from=nobody", false), ("GET app/ from=client", false),
    ]),
    ("rules: [{from: [{source: {principals: ['cluster.local/ns/shop/*']}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=shop2/ui", false), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{from: [{source: {principals: ['*/sa/ui']}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=bank/ui", true), ("GET app/ from=bank/gui", false),
    ]),
    ("rules: [{from: [{source: {principals: ['*']}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=client", true), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{from: [{source: {principals: [cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account]}}]}]", &[
        ("GET app/ from=client", true), ("GET app/ from=shop/ui", false),
    ]),
    ("rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/ui]}}]}]", &[
        ("GET app/ from=shop/ui", false), ("GET app/ from=bank/ui", true), ("GET app/ from=nobody", true),
    ]),
    ("rules: [{from: [{source: {principals: ['*'], notPrincipals: ['*/sa/ui']}}]}]", &[
        ("GET app/ from=shop/ui", false), ("GET app/ from=shop/x", true), ("GET app/ from=nobody", false),
    ]),
    // Namespaces.
    ("rules: [{from: [{source: {namespaces: [shop]}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=shop2/ui", false), ("GET app/ from=myshop/ui", false),
        ("GET app/ from=nobody", false), ("GET app/ from=bank/shop", false),
    ]),
    ("rules: [{from: [{source: {namespaces: ['shop*']}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=shop2/ui", true), ("GET app/ from=myshop/ui", false),
    ]),
    ("rules: [{from: [{source: {namespaces: ['*shop']}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=myshop/ui", true), ("GET app/ from=shop2/ui", false),
    ]),
    ("rules: [{from: [{source: {namespaces: ['*']}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=client", true), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{from: [{source: {namespaces: [istio-system]}}]}]", &[
        ("GET app/ from=client", true), ("GET app/ from=shop/ui", false),
    ]),
    ("rules: [{from: [{source: {notNamespaces: [shop]}}]}]", &[
        ("GET app/ from=shop/ui", false), ("GET app/ from=bank/ui", true), ("GET app/ from=nobody", true),
        ("GET app/ from=client", true),
    ]),
    // Service accounts, of the policy's namespace if they name none.
    ("rules: [{from: [{source: {serviceAccounts: [ui, bank/teller]}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=bank/teller", true), ("GET app/ from=bank/ui", false),
        ("GET app/ from=shop/ui2", false), ("GET app/ from=shop/teller", false), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{from: [{source: {notServiceAccounts: [ui]}}]}]", &[
        ("GET app/ from=shop/ui", false), ("GET app/ from=bank/ui", true), ("GET app/ from=nobody", true),
    ]),
    ("rules: [{from: [{source: {trustDomains: [cluster.local]}}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{from: [{source: {trustDomains: [other.example]}}]}]", &[
        ("GET app/ from=shop/ui", false), ("GET app/ from=nobody", false),
    ]),
    // Addresses. A client's connection ends at the gateway.
    ("rules: [{from: [{source: {ipBlocks: [10.1.0.0/16, 192.0.2.7]}}]}]", &[
        ("GET app/ from=shop/ui ip=10.1.2.3", true), ("GET app/ from=shop/ui ip=10.2.0.1", false),
        ("GET app/ from=shop/ui ip=192.0.2.7", true), ("GET app/ from=shop/ui ip=192.0.2.8", false),
        ("GET app/ from=shop/ui ip=::ffff:10.1.2.3", true), ("GET app/ from=shop/ui", false),
        ("GET app/ from=client ip=10.1.2.3", false),
    ]),
    ("rules: [{from: [{source: {ipBlocks: ['2001:db8::/32']}}]}]", &[
        ("GET app/ from=shop/ui ip=2001:db8::1", true), ("GET app/ from=shop/ui ip=2001:db9::1", false),
    ]),
    ("rules: [{from: [{source: {notIpBlocks: [10.1.0.0/16]}}]}]", &[
        ("GET app/ from=shop/ui ip=10.1.2.3", false), ("GET app/ from=shop/ui ip=10.2.2.3", true),
        ("GET app/ from=shop/ui", true),
    ]),
    ("rules: [{from: [{source: {remoteIpBlocks: [198.51.100.0/24]}}]}]", &[
        ("GET app/ from=client", true), ("GET app/ from=client ip=203.0.113.1", false),
        ("GET app/ from=shop/ui ip=198.51.100.1", true), ("GET app/ from=shop/ui", false),
    ]),
    ("rules: [{from: [{source: {notRemoteIpBlocks: [198.51.100.0/24]}}]}]", &[
        ("GET app/ from=client", false), ("GET app/ from=client ip=203.0.113.1", true),
    ]),
    // Tokens.
    ("rules: [{from: [{source: {requestPrincipals: ['*']}}]}]", &[
        ("GET app/ iss=a sub=b", true), ("GET app/", false), ("GET app/ iss=a sub=", false),
    ]),
    ("rules: [{from: [{source: {requestPrincipals: [https://a.example/v1/bob]}}]}]", &[
        ("GET app/ iss=https://a.example/v1 sub=bob", true), ("GET app/ iss=https://a.example/v1 sub=eve", false),
        ("GET app/ iss=https://b.example/v1 sub=bob", false), ("GET app/", false),
    ]),
    ("rules: [{from: [{source: {requestPrincipals: ['a/*']}}]}]", &[
        ("GET app/ iss=a sub=x", true), ("GET app/ iss=ab sub=x", false),
    ]),
    ("rules: [{from: [{source: {requestPrincipals: ['*/bob']}}]}]", &[
        ("GET app/ iss=a sub=bob", true), ("GET app/ iss=a sub=kbob", false),
    ]),
    ("rules: [{from: [{source: {requestPrincipals: ['a/b*']}}]}]", &[
        ("GET app/ iss=a sub=bob", true), ("GET app/ iss=a sub=eve", false),
    ]),
    ("rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]", &[
        ("GET app/", true), ("GET app/ iss=a sub=b", false),
    ]),
    ("rules: [{when: [{key: request.auth.principal, values: ['a/b']}]}]", &[
        ("GET app/ iss=a sub=b", true), ("GET app/ iss=a sub=c", false),
    ]),
    ("rules: [{when: [{key: request.auth.audiences, values: [web, 'api*']}]}]", &[
        ("GET app/ aud=x,web", true), ("GET app/ aud=api-2", true), ("GET app/ aud=x", false), ("GET app/", false),
    ]),
    ("rules: [{when: [{key: request.auth.presenter, values: [cli]}]}]", &[
        ("GET app/ azp=cli", true), ("GET app/ azp=web", false), ("GET app/ iss=a", false),
    ]),
    ("rules: [{when: [{key: 'request.auth.claims[group]', values: [admin]}]}]", &[
        ("GET app/ claim:group=\"admin\"", true), ("GET app/ claim:group=[\"user\",\"admin\"]", true),
        ("GET app/ claim:group=[\"user\"]", false), ("GET app/ claim:group=7", false), ("GET app/", false),
    ]),
    ("rules: [{when: [{key: 'request.auth.claims[realm][roles]', values: ['ad*']}]}]", &[
        ("GET app/ claim:realm={\"roles\":[\"admin\"]}", true), ("GET app/ claim:realm={\"roles\":\"x\"}", false),
        ("GET app/ claim:realm=\"admin\"", false), ("GET app/ claim:roles=\"admin\"", false),
    ]),
    ("rules: [{when: [{key: 'request.auth.claims[group]', notValues: [admin]}]}]", &[
        ("GET app/ claim:group=\"admin\"", false), ("GET app/ claim:group=\"x\"", true), ("GET app/", true),
    ]),
    // Hosts: with their port, in any case of letters.
    ("rules: [{to: [{operation: {hosts: [app.example]}}]}]", &[
        ("GET app.example/", true), ("GET APP.Example/", true), ("GET app.example:8080/", false), ("GET b.app.example/", false),
        ("GET app.example./", true),
    ]),
    ("rules: [{to: [{operation: {hosts: ['*.example']}}]}]", &[
        ("GET app.EXAMPLE/", true), ("GET example/", false), ("GET app.example:80/", false),
    ]),
    ("rules: [{to: [{operation: {hosts: ['app.example:*']}}]}]", &[
        ("GET App.example:80/", true), ("GET app.example/", false),
    ]),
    ("rules: [{to: [{operation: {notHosts: [app.example]}}]}]", &[
        ("GET APP.example/", false), ("GET b.example/", true), ("GET app.example./", false),
    ]),
    // Methods: as they are written.
    ("rules: [{to: [{operation: {methods: [GET, 'P*']}}]}]", &[
        ("GET app/", true), ("POST app/", true), ("PUT app/", true), ("DELETE app/", false), ("get app/", false),
    ]),
    ("rules: [{to: [{operation: {methods: ['*']}}]}]", &[("PURGE app/", true)]),
    ("rules: [{to: [{operation: {notMethods: [GET]}}]}]", &[("GET app/", false), ("POST app/", true)]),
    // Paths: normalised, without the query.
    ("rules: [{to: [{operation: {paths: [/admin]}}]}]", &[
        ("GET app/admin", true), ("GET app/admin?x=1", true), ("GET app/admin/", false), ("GET app/Admin", false),
        ("GET app/x/../admin", true), ("GET app/%61dmin", true), ("GET app/admin2", false),
    ]),
    ("rules: [{to: [{operation: {paths: ['/api/*']}}]}]", &[
        ("GET app/api/", true), ("GET app/api/a/b", true), ("GET app/api", false), ("GET app/apix", false),
    ]),
    ("rules: [{to: [{operation: {paths: ['*/info']}}]}]", &[
        ("GET app/a/info", true), ("GET app/info", true), ("GET app/a/info/x", false),
    ]),
    ("rules: [{to: [{operation: {paths: ['*']}}]}]", &[("GET app/", true), ("GET app/a", true)]),
    ("rules: [{to: [{operation: {notPaths: ['/public/*']}}]}]", &[
        ("GET app/public/a", false), ("GET app/private", true),
    ]),
    ("rules: [{to: [{operation: {paths: ['/a/*'], notPaths: [/a/b]}}]}]", &[
        ("GET app/a/c", true), ("GET app/a/b", false), ("GET app/c", false),
    ]),
    // Path templates.
    ("rules: [{to: [{operation: {paths: ['/foo/{*}']}}]}]", &[
        ("GET app/foo/a", true), ("GET app/foo/", false), ("GET app/foo", false), ("GET app/foo/a/b", false),
        ("GET app/foo/a?q", true), ("GET app/foo/a*", false),
    ]),
    ("rules: [{to: [{operation: {paths: ['/foo/{**}']}}]}]", &[
        ("GET app/foo/", true), ("GET app/foo/a", true), ("GET app/foo/a/b/c", true), ("GET app/foo", false),
        ("GET app/foox", false),
    ]),
    ("rules: [{to: [{operation: {paths: ['/{*}/bar/{**}/end']}}]}]", &[
        ("GET app/x/bar/a/b/end", true), ("GET app/x/bar/a/end", true), ("GET app/x/bar/end", false),
        ("GET app/x/y/bar/a/end", false),
    ]),
    ("rules: [{to: [{operation: {notPaths: ['/u/{*}/secret']}}]}]", &[
        ("GET app/u/1/secret", false), ("GET app/u/1/open", true),
    ]),
    // Ports: the pod's own.
    ("rules: [{to: [{operation: {ports: ['8080', '9090']}}]}]", &[
        ("GET app/", true), ("GET app/ port=9090", true), ("GET app/ port=80", false), ("GET app:8080/ port=81", false),
    ]),
    ("rules: [{to: [{operation: {notPorts: ['8080']}}]}]", &[("GET app/", false), ("GET app/ port=80", true)]),
    ("rules: [{when: [{key: destination.port, values: ['8080']}]}]", &[
        ("GET app/", true), ("GET app/ port=80", false),
    ]),
    // Headers.
    ("rules: [{when: [{key: 'request.headers[X-Token]', values: [a, 'b*', '*c']}]}]", &[
        ("GET app/ h:x-token=a", true), ("GET app/ h:x-token=bb", true), ("GET app/ h:x-token=cc", true),
        ("GET app/ h:x-token=d", false), ("GET app/", false),
    ]),
    ("rules: [{when: [{key: 'request.headers[x]', values: ['*']}]}]", &[
        ("GET app/ h:x=a", true), ("GET app/ h:x=", true), ("GET app/", false),
    ]),
    ("rules: [{when: [{key: 'request.headers[x]', values: ['a,b']}]}]", &[
        ("GET app/ h:x=a,b", true), ("GET app/ h:x=a h:x=b", false), ("GET app/ h:x=a", false),
    ]),
    ("rules: [{when: [{key: 'request.headers[x]', values: [a]}]}]", &[
        ("GET app/ h:x=a h:x=b", true), ("GET app/ h:x=b h:x=a", true), ("GET app/ h:x=a h:x=a", true),
        ("GET app/ h:x= h:x=a", true), ("GET app/ h:x=b h:x=c", false),
    ]),
    ("rules: [{when: [{key: 'request.headers[x]', notValues: [a]}]}]", &[
        ("GET app/ h:x=a", false), ("GET app/ h:x=b", true), ("GET app/", true),
        ("GET app/ h:x=b h:x=a", false), ("GET app/ h:x=a h:x=a", false), ("GET app/ h:x=b h:x=c", true),
    ]),
    // Headers that Envoy joins.
    ("rules: [{when: [{key: 'request.headers[user-agent]', values: ['a,b', 'x*', '*y']}]}]", &[
        ("GET app/ h:user-agent=a h:user-agent=b", true), ("GET app/ h:user-agent=b h:user-agent=a", false),
        ("GET app/ h:user-agent=x h:user-agent=b", true), ("GET app/ h:user-agent=b h:user-agent=y", true),
        ("GET app/ h:user-agent=a,b", true),
    ]),
    ("rules: [{when: [{key: 'request.headers[cookie]', values: [a, '*b']}]}]", &[
        ("GET app/ h:cookie=a h:cookie=c", true), ("GET app/ h:cookie=c h:cookie=xb", true), ("GET app/ h:cookie=c h:cookie=d", false),
    ]),
    ("rules: [{when: [{key: 'request.headers[host]', values: [app]}]}]", &[
        ("GET app/", true), ("GET other/", false),
    ]),
    // Conditions about the source.
    ("rules: [{when: [{key: source.namespace, values: [shop]}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=bank/ui", false), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{when: [{key: source.principal, notValues: [cluster.local/ns/shop/sa/ui]}]}]", &[
        ("GET app/ from=shop/ui", false), ("GET app/ from=nobody", true),
    ]),
    ("rules: [{when: [{key: source.serviceAccount, values: [shop/ui]}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=bank/ui", false),
    ]),
    ("rules: [{when: [{key: source.trustDomain, values: ['cluster.*']}]}]", &[
        ("GET app/ from=shop/ui", true), ("GET app/ from=nobody", false),
    ]),
    ("rules: [{when: [{key: source.ip, values: [10.0.0.0/8]}]}]", &[
        ("GET app/ from=shop/ui ip=10.1.1.1", true), ("GET app/ from=shop/ui ip=11.1.1.1", false),
    ]),
    ("rules: [{when: [{key: remote.ip, values: [198.51.100.7]}]}]", &[
        ("GET app/ from=client", true), ("GET app/ from=shop/ui ip=11.1.1.1", false),
    ]),
];

/// What this host does not know: never matches where it would allow, always where it would
/// deny.
const UNKNOWN: &[&str] = &[
    "{key: destination.ip, values: [10.0.0.1]}",
    "{key: destination.ip, notValues: [10.0.0.1]}",
    "{key: connection.sni, values: ['*']}",
    "{key: 'experimental.envoy.filters.network.mysql_proxy[db.table]', values: ['[update]']}",
];

#[test]
fn allow_and_deny_match_the_same_requests() {
    let mut rows = 0;
    for (spec, requests) in GROUPS {
        let allow = mesh(&policy("shop", "p", spec));
        let deny = mesh(&policy("shop", "p", &format!("action: DENY\n{spec}")));
        for (request, is_match) in *requests {
            rows += 1;
            let expected = if *is_match { "allow" } else { "none" };
            assert_eq!(
                allow.ask("shop/app", request),
                expected,
                "{spec}\n{request}"
            );
            let denied = deny.ask("shop/app", request) != "allow";
            assert_eq!(denied, *is_match, "DENY {spec}\n{request}");
        }
    }
    assert!(rows >= 150, "{rows} rows");
}

#[test]
fn unknown_attribute_counts_against_the_request() {
    for condition in UNKNOWN {
        let rules = format!("rules: [{{when: [{condition}]}}]");
        let allow = mesh(&policy("shop", "p", &rules));
        assert_eq!(allow.ask("shop/app", "GET app/"), "none", "{condition}");
        let deny = mesh(&policy("shop", "p", &format!("action: DENY\n{rules}")));
        let expected = "ns[shop]-policy[p]-rule[0]";
        assert_eq!(deny.ask("shop/app", "GET app/"), expected, "{condition}");
        assert!(
            deny.diagnostics[0].contains("does not know"),
            "{:?}",
            deny.diagnostics
        );
    }
}

/// Envoy joins `user-agent`. A rule allows no more than there, and forbids each value too.
#[test]
fn header_that_envoy_joins_is_never_allowed_by_a_part_of_it() {
    let when = |field: &str| {
        format!("rules: [{{when: [{{key: 'request.headers[user-agent]', {field}}}]}}]")
    };
    for (field, asked, allowed, denied) in [
        ("values: [a]", "a", true, true),
        ("values: [a]", "a b", false, true),
        ("values: [a]", "b a", false, true),
        ("values: [a]", "a a", false, true),
        ("values: ['a,b']", "a b", true, true),
        ("values: ['b*']", "a b", false, true),
        ("values: ['a*']", "a b", true, true),
        ("values: ['*a']", "a b", false, true),
        ("values: ['*']", "a b", true, true),
        ("values: [a]", "b c", false, false),
        ("notValues: [a]", "b", true, true),
        ("notValues: [a]", "a b", false, true),
        ("notValues: [a]", "b a", false, true),
        ("notValues: ['a,b']", "a b", false, false),
        ("notValues: ['*']", "a b", false, false),
        ("notValues: [c]", "a b", true, true),
    ] {
        let headers = asked.split(' ').map(|it| format!(" h:user-agent={it}"));
        let asked = format!("GET app/{}", headers.collect::<String>());
        let allow = mesh(&policy("shop", "p", &when(field)));
        let answer = allow.ask("shop/app", &asked);
        assert_eq!(answer == "allow", allowed, "ALLOW {field}: {asked}");
        let deny = format!("action: DENY\n{}", when(field));
        let deny = mesh(&policy("shop", "p", &deny));
        let answer = deny.ask("shop/app", &asked);
        assert_eq!(answer != "allow", denied, "DENY {field}: {asked}");
    }
}

#[test]
fn rules_that_can_never_match_are_reported() {
    for (rule, reason) in [
        (
            "to: [{operation: {methods: [get]}}]",
            "methods are compared in upper case",
        ),
        (
            "to: [{operation: {paths: [admin]}}]",
            "paths begin with `/`",
        ),
        (
            "to: [{operation: {paths: ['/a?b=c']}}]",
            "without the query",
        ),
        (
            "to: [{operation: {methods: [GET], notMethods: [GET]}}]",
            "also excluded (GET)",
        ),
        ("to: [{operation: {hosts: ['http://a']}}]", "no scheme"),
        (
            "from: [{source: {principals: ['spiffe://cluster.local/ns/a/sa/b']}}]",
            "without `spiffe://`",
        ),
        (
            "when: [{key: destination.ip, values: [10.0.0.1]}]",
            "the rule never matches",
        ),
    ] {
        let world = mesh(&policy("shop", "p", &format!("rules: [{{{rule}}}]")));
        let [diagnostic] = world.diagnostics.as_slice() else {
            unreachable!("{rule}: {:?}", world.diagnostics);
        };
        assert!(diagnostic.contains(reason), "{rule}: {diagnostic}");
        assert!(diagnostic.contains("[GAL0039]"), "{diagnostic}");
        assert!(diagnostic.contains("AuthorizationPolicy/p"), "{diagnostic}");
    }
    let fine = "rules: [{to: [{operation: {methods: [GET, get], paths: [/a]}}]}]";
    assert!(mesh(&policy("shop", "p", fine)).diagnostics.is_empty());
}
