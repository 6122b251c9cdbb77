//! AuthorizationPolicies. Each rule is that of a DENY policy of one service and of an ALLOW
//! policy of another; a header selects the rule, so that no policy changes between rows.

use serde_json::json;

use super::issuer::Issuer;
use super::{ExpectedLines, Hosts, PLACES, Place, Request};
use crate::support::{Service, manifests, with_accounts};

const ISSUER: &str = "https://issuer.test";

/// Who sends a request that a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matching {
    Everywhere,
    /// Guests, in both hosts.
    Inside,
    /// The client: the source is the gateway.
    Outside,
    Nowhere,
}

use Matching::{Everywhere as E, Inside as I, Nowhere as N, Outside as O};

/// `from` and `to` of a rule, its `when`, and the rows: requests as
/// `[AUTHORITY]/PATH [from=two] [token=NAME] [NAME=VALUE]…`, where every other name is that of a
/// header.
type Group = (
    &'static str,
    &'static str,
    &'static [(&'static str, Matching)],
);

#[rustfmt::skip]
const GROUPS: &[Group] = &[
    ("", "", &[("/", E), ("/a/b", E), ("/ from=two", E)]),
    // Principals, namespaces, service accounts.
    ("from: [{source: {principals: [cluster.local/ns/test/sa/one]}}]", "", &[("/", I), ("/ from=two", N)]),
    ("from: [{source: {principals: ['cluster.local/ns/test/*']}}]", "", &[("/", I), ("/ from=two", I)]),
    ("from: [{source: {principals: ['*/sa/two']}}]", "", &[("/", N), ("/ from=two", I)]),
    ("from: [{source: {principals: ['*']}}]", "", &[("/", E), ("/ from=two", E)]),
    ("from: [{source: {principals: [cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account]}}]", "", &[("/", O), ("/ from=two", O)]),
    ("from: [{source: {notPrincipals: [cluster.local/ns/test/sa/one]}}]", "", &[("/", O), ("/ from=two", E)]),
    ("from: [{source: {principals: ['*'], notPrincipals: ['*/sa/two']}}]", "", &[("/", E), ("/ from=two", O)]),
    ("from: [{source: {namespaces: [test]}}]", "", &[("/", I), ("/ from=two", I)]),
    ("from: [{source: {namespaces: ['te*']}}]", "", &[("/", I)]),
    ("from: [{source: {namespaces: ['*st']}}]", "", &[("/", I)]),
    ("from: [{source: {namespaces: [istio-system]}}]", "", &[("/", O), ("/ from=two", O)]),
    ("from: [{source: {namespaces: [other]}}]", "", &[("/", N)]),
    ("from: [{source: {notNamespaces: [test]}}]", "", &[("/", O), ("/ from=two", O)]),
    ("from: [{source: {serviceAccounts: [one]}}]", "", &[("/", I), ("/ from=two", N)]),
    ("from: [{source: {serviceAccounts: [test/two]}}]", "", &[("/", N), ("/ from=two", I)]),
    ("from: [{source: {notServiceAccounts: [one]}}]", "", &[("/", O), ("/ from=two", E)]),
    ("from: [{source: {trustDomains: [cluster.local]}}]", "", &[("/", E)]),
    ("from: [{source: {trustDomains: [other.example]}}]", "", &[("/", N)]),
    ("from: [{source: {principals: [cluster.local/ns/test/sa/one], namespaces: [other]}}]", "", &[("/", N)]),
    ("from: [{source: {namespaces: [other]}}, {source: {principals: ['*/sa/two']}}]", "", &[("/", N), ("/ from=two", I)]),
    ("from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]", "", &[("/", N)]),
    ("from: [{source: {notRemoteIpBlocks: [203.0.113.0/24]}}]", "", &[("/", E)]),
    // Tokens.
    ("from: [{source: {requestPrincipals: ['*']}}]", "", &[("/", N), ("/ token=ann", E), ("/ token=bob from=two", E)]),
    ("from: [{source: {requestPrincipals: ['https://issuer.test/ann']}}]", "", &[("/", N), ("/ token=ann", E), ("/ token=bob", N)]),
    ("from: [{source: {requestPrincipals: ['https://issuer.test/*']}}]", "", &[("/ token=ann", E), ("/ token=bob", E)]),
    ("from: [{source: {requestPrincipals: ['*/bob']}}]", "", &[("/ token=ann", N), ("/ token=bob", E)]),
    ("from: [{source: {notRequestPrincipals: ['*']}}]", "", &[("/", E), ("/ token=ann", N)]),
    ("from: [{source: {principals: ['*/sa/one'], requestPrincipals: ['*/ann']}}]", "", &[("/ token=ann", I), ("/ token=ann from=two", N), ("/ token=bob", N)]),
    ("", "{key: request.auth.principal, values: ['https://issuer.test/ann']}", &[("/ token=ann", E), ("/ token=bob", N), ("/", N)]),
    ("", "{key: request.auth.audiences, values: [web]}", &[("/ token=ann", E), ("/ token=bob", N)]),
    ("", "{key: request.auth.presenter, values: [cli]}", &[("/ token=ann", N), ("/ token=bob", E)]),
    ("", "{key: 'request.auth.claims[group]', values: [admin]}", &[("/ token=ann", E), ("/ token=bob", N), ("/", N)]),
    ("", "{key: 'request.auth.claims[group]', notValues: [admin]}", &[("/ token=ann", N), ("/ token=bob", E), ("/", E)]),
    ("", "{key: 'request.auth.claims[realm][roles]', values: ['ed*']}", &[("/ token=ann", N), ("/ token=bob", E)]),
    // Hosts.
    ("to: [{operation: {hosts: [denied, allowed]}}]", "", &[("/", E), ("SERVICE.test/", N), ("SERVICE:80/", N)]),
    ("to: [{operation: {hosts: ['*.test']}}]", "", &[("/", N), ("SERVICE.test/", E), ("SERVICE.TEST/", E)]),
    ("to: [{operation: {hosts: ['*.cluster.local']}}]", "", &[("/", N), ("SERVICE.test.svc.cluster.local/", E)]),
    ("to: [{operation: {hosts: ['denied:*', 'allowed:*']}}]", "", &[("/", N), ("SERVICE.test/", N)]),
    ("to: [{operation: {notHosts: ['*.test']}}]", "", &[("/", E), ("SERVICE.test/", N)]),
    // Methods.
    ("to: [{operation: {methods: [GET]}}]", "", &[("/", E)]),
    ("to: [{operation: {methods: [POST, PUT]}}]", "", &[("/", N)]),
    ("to: [{operation: {methods: ['G*']}}]", "", &[("/", E)]),
    ("to: [{operation: {notMethods: [GET]}}]", "", &[("/", N)]),
    ("to: [{operation: {notMethods: [DELETE]}}]", "", &[("/", E)]),
    // Paths, without the query.
    ("to: [{operation: {paths: [/admin]}}]", "", &[("/admin", E), ("/admin?x=1", E), ("/admin/", N), ("/Admin", N), ("/admin2", N), ("/%61dmin", E)]),
    ("to: [{operation: {paths: ['/api/*']}}]", "", &[("/api/", E), ("/api/a/b", E), ("/api", N), ("/apix", N)]),
    ("to: [{operation: {paths: ['*/info']}}]", "", &[("/a/info", E), ("/info", E), ("/a/info/x", N)]),
    ("to: [{operation: {paths: ['*']}}]", "", &[("/", E), ("/x", E)]),
    ("to: [{operation: {notPaths: ['/public/*']}}]", "", &[("/public/a", N), ("/private", E)]),
    ("to: [{operation: {paths: ['/a/*'], notPaths: [/a/b]}}]", "", &[("/a/c", E), ("/a/b", N), ("/c", N)]),
    ("to: [{operation: {paths: ['/foo/{*}']}}]", "", &[("/foo/a", E), ("/foo/", N), ("/foo", N), ("/foo/a/b", N), ("/foo/a?q", E)]),
    ("to: [{operation: {paths: ['/foo/{**}']}}]", "", &[("/foo/", E), ("/foo/a/b/c", E), ("/foo", N), ("/foox", N)]),
    ("to: [{operation: {paths: ['/{*}/bar/{**}/end']}}]", "", &[("/x/bar/a/b/end", E), ("/x/bar/a/end", E), ("/x/bar/end", N), ("/x/y/bar/a/end", N)]),
    ("to: [{operation: {notPaths: ['/u/{*}/secret']}}]", "", &[("/u/1/secret", N), ("/u/1/open", E)]),
    ("to: [{operation: {methods: [GET], paths: [/a]}}, {operation: {methods: [POST], paths: [/b]}}]", "", &[("/a", E), ("/b", N)]),
    // Ports: the pod's own.
    ("to: [{operation: {ports: ['9001', '9002']}}]", "", &[("/", E)]),
    ("to: [{operation: {ports: ['80']}}]", "", &[("/", N)]),
    ("to: [{operation: {notPorts: ['80']}}]", "", &[("/", E)]),
    ("", "{key: destination.port, values: ['9001', '9002']}", &[("/", E)]),
    ("", "{key: destination.port, values: ['80']}", &[("/", N)]),
    // Headers.
    ("", "{key: 'request.headers[x-token]', values: [a, 'b*', '*c']}", &[("/ x-token=a", E), ("/ x-token=bb", E), ("/ x-token=cc", E), ("/ x-token=d", N), ("/", N)]),
    ("", "{key: 'request.headers[X-Token]', values: ['*']}", &[("/ x-token=a", E), ("/", N)]),
    ("", "{key: 'request.headers[x-token]', notValues: [a]}", &[("/ x-token=a", N), ("/ x-token=b", E), ("/", E)]),
    ("", "{key: 'request.headers[x-a]', values: ['1']}, {key: 'request.headers[x-b]', values: ['2']}", &[("/ x-a=1 x-b=2", E), ("/ x-a=1", N), ("/ x-b=2", N)]),
    ("", "{key: 'request.headers[x-token]', values: ['a,b']}", &[("/ x-token=a,b", E), ("/ x-token=a", N)]),
    // Conditions about the source.
    ("", "{key: source.namespace, values: [test]}", &[("/", I), ("/ from=two", I)]),
    ("", "{key: source.principal, notValues: [cluster.local/ns/test/sa/one]}", &[("/", O), ("/ from=two", E)]),
    ("", "{key: source.serviceAccount, values: [test/one]}", &[("/", I), ("/ from=two", N)]),
    ("", "{key: source.trustDomain, values: ['cluster.*']}", &[("/", E)]),
    // All parts.
    ("from: [{source: {principals: ['*/sa/one']}}], to: [{operation: {paths: ['/a*']}}]", "{key: 'request.headers[x-token]', values: [t]}", &[
        ("/ab x-token=t", I), ("/b x-token=t", N), ("/ab", N), ("/ab x-token=t from=two", N),
    ]),
    ("from: [{source: {namespaces: [istio-system]}}], to: [{operation: {paths: [/open]}}]", "", &[("/open", O), ("/", N)]),
];

impl Matching {
    fn at(self, place: Place) -> bool {
        match self {
            E => true,
            I => place != Place::Outside,
            O => place == Place::Outside,
            N => false,
        }
    }
}

struct Row {
    caller: &'static str,
    request: Request,
}

fn row(text: &'static str, service: &str, rule: &str, token: impl Fn(&str) -> String) -> Row {
    let mut words = text.split(' ');
    let url = words.next().expect("a URL");
    let (authority, path) = url.split_once('/').expect("a path");
    let mut row = Row {
        caller: "one",
        request: Request::new(&format!("/{path}")).header("x-row", rule),
    };
    row.request.authority = authority.replace("SERVICE", service);
    for word in words {
        let (name, value) = word.split_once('=').expect("a name and a value");
        match name {
            "from" => row.caller = value,
            "token" => {
                row.request = row.request.header("authorization", &token(value));
            }
            name => row.request = row.request.header(name, value),
        }
    }
    row
}

fn policies(issuer: &Issuer) -> String {
    let mut yaml = String::new();
    for (service, action) in [("denied", "DENY"), ("allowed", "ALLOW")] {
        yaml.push_str(&format!(
            "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: \
             {service}, namespace: test}}\nspec: {{selector: {{matchLabels: {{app: {service}}}}}, \
             jwtRules: [{{issuer: '{ISSUER}', jwks: '{}'}}]}}\n",
            issuer.key_set()
        ));
        for (number, (parts, when, _)) in GROUPS.iter().enumerate() {
            let parts = match *parts {
                "" => String::new(),
                parts => format!("{parts}, "),
            };
            let selected =
                format!("{{key: 'request.headers[x-row]', values: [rule-{number}]}}, {when}");
            yaml.push_str(&format!(
                "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: \
                 {{name: {service}-{number}, namespace: test}}\nspec: {{selector: {{matchLabels: \
                 {{app: {service}}}}}, action: {action}, rules: [{{{parts}when: [{selected}]}}]}}\n"
            ));
        }
    }
    yaml
}

fn hosts(issuer: &Issuer) -> Hosts {
    let services = manifests(&[
        Service::new("denied", "hello"),
        Service::new("allowed", "hello"),
        Service::new("one", "call"),
        Service::new("two", "call"),
        Service::new("far-one", "call"),
        Service::new("far-two", "call"),
    ]);
    let accounts = [
        ("one", "one"),
        ("two", "two"),
        ("far-one", "one"),
        ("far-two", "two"),
    ];
    let manifest = with_accounts(&services, &accounts) + &policies(issuer);
    let near = ["denied", "allowed", "one", "two"];
    Hosts::start(&manifest, &near, &["far-one", "far-two"])
}

#[test]
fn rules_match_the_same_requests_from_everywhere() {
    let issuer = Issuer::new();
    let hosts = hosts(&issuer);
    let token = |name: &str| {
        let claims = match name {
            "ann" => json!({"aud": "web", "group": "admin"}),
            _ => json!({"aud": ["api"], "azp": "cli", "realm": {"roles": ["editor"]}}),
        };
        let mut claims = claims;
        claims["iss"] = json!(ISSUER);
        claims["sub"] = json!(name);
        format!("Bearer {}", issuer.token("EdDSA", &claims))
    };
    let mut lines = ExpectedLines::default();
    let (mut rows, mut denials, mut admissions) = (0, [0.0; 2], [0.0; 2]);
    let mut explained = Vec::new();
    for (number, (parts, when, requests)) in GROUPS.iter().enumerate() {
        for (at, (text, matching)) in requests.iter().enumerate() {
            rows += 1;
            for (index, service) in ["denied", "allowed"].into_iter().enumerate() {
                for place in PLACES {
                    let row = row(text, service, &format!("rule-{number}"), token);
                    let id = format!("{number}-{at}-{service}-{place:?}");
                    let request = row.request.with_id(&id);
                    let is_denied = matching.at(place) == (service == "denied");
                    let answer = hosts.ask(place, row.caller, service, &request);
                    let status = if is_denied { 403 } else { 200 };
                    let rule = format!("{parts} {when}\n{text}, {service}, {place:?}");
                    assert_eq!(answer.status, status, "{rule}");
                    let matched = match service {
                        "denied" => format!("ns[test]-policy[denied-{number}]-rule[0]"),
                        _ => "none".to_owned(),
                    };
                    let details = format!("rbac_access_denied_matched_policy[{matched}]");
                    if is_denied {
                        assert_eq!(answer.body, "RBAC: access denied", "{rule}");
                        denials[index] += 1.0;
                        lines.add(&id, 403, &details);
                    } else {
                        admissions[index] += 1.0;
                        lines.add(&id, 200, "via_upstream");
                    }
                    if service == "denied" && at == 0 {
                        let details = is_denied.then_some(details);
                        explained.push((place, row.caller, request, details));
                    }
                }
            }
        }
    }
    assert!(rows >= 150, "{rows} rows");
    hosts.have_logged(&lines);
    for (index, service) in ["denied", "allowed"].into_iter().enumerate() {
        assert_eq!(hosts.counted(service, 403), denials[index], "{service}");
        assert_eq!(hosts.counted(service, 200), admissions[index], "{service}");
    }
    for (place, caller, request, details) in explained {
        let page = hosts.explain(place, caller, "denied", &request);
        let verdict = match details {
            Some(details) => format!("authorization of test/denied: DENIED with 403, {details}"),
            None => "authorization of test/denied: allowed".to_owned(),
        };
        assert!(page.contains(&verdict), "{request:?} {place:?}\n{page}");
    }
}
