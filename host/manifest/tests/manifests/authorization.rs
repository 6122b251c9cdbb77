//! Authorization policies: what is refused. A policy that is not understood must not open
//! anything.

use std::path::Path;

use galleria_manifest::model::{Attribute, PolicyScope, Resource};
use galleria_manifest::{LoadResult, Severity, read_str};

use super::render;

fn read(kind: &str, spec: &str) -> LoadResult {
    let group = match kind {
        "AuthorizationPolicy" => "security.istio.io/v1",
        _ => "rbac.istio.io/v1alpha1",
    };
    let text = format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: default, namespace: shop}}\nspec: {spec}\n"
    );
    read_str(Path::new("text.yaml"), &text)
}

fn errors(kind: &str, spec: &str) -> String {
    let mut loaded = read(kind, spec);
    loaded
        .diagnostics
        .retain(|it| it.severity == Severity::Error);
    assert_eq!(loaded.diagnostics.is_empty(), !loaded.objects.is_empty());
    render(&loaded.diagnostics)
}

fn rule(rule: &str) -> String {
    format!("{{rules: [{{{rule}}}]}}")
}

fn from(source: &str) -> String {
    rule(&format!("from: [{{source: {{{source}}}}}]"))
}

fn to(operation: &str) -> String {
    rule(&format!("to: [{{operation: {{{operation}}}}}]"))
}

fn when(condition: &str) -> String {
    rule(&format!("when: [{{{condition}}}]"))
}

fn assert_refused(rows: &[(String, &str)]) {
    for (spec, message) in rows {
        let found = errors("AuthorizationPolicy", spec);
        assert!(found.contains(message), "{spec}\n{found}");
        assert!(found.starts_with("text.yaml:4:"), "{found}");
    }
}

#[test]
fn what_would_widen_a_policy_is_refused() {
    assert_refused(&[
        // Unknown fields, which would widen the policy.
        (
            "{actoin: DENY, rules: [{}]}".to_owned(),
            "actoin: unknown field; did you mean `action`?",
        ),
        (
            rule("form: []"),
            "rules[0].form: unknown field; did you mean `from`?",
        ),
        (
            from("principal: [a]"),
            "principal: unknown field; did you mean `principals`?",
        ),
        (to("method: [GET]"), "method: unknown field"),
        (
            when("key: source.ip, values: [1.2.3.4], value: [a]"),
            "value: unknown field",
        ),
        (
            "{selector: {matchLabel: {a: b}}}".into(),
            "matchLabel: unknown field",
        ),
        (
            "{selector: {matchExpressions: []}}".into(),
            "matchExpressions: unknown field",
        ),
        // Empty lists and entries, which match everything.
        (rule("from: []"), "rules[0].from: `from` must not be empty"),
        (rule("from:"), "`from` must not be empty"),
        (rule("to: []"), "`to` must not be empty"),
        (rule("when: []"), "`when` must not be empty"),
        (rule("from: [{}]"), "the required field `source` is missing"),
        (
            rule("to: [{}]"),
            "the required field `operation` is missing",
        ),
        (from(""), "an empty entry is not allowed"),
        (to(""), "an empty entry is not allowed"),
        (from("principals: []"), "`principals` must not be empty"),
        (from("principals: ['']"), "principals[0]: must not be empty"),
        (from("principals:"), "`principals` must not be empty"),
        ("{rules: [null]}".into(), "expected a mapping"),
        ("{rules: {}}".into(), "expected a list"),
    ]);
}

#[test]
fn malformed_values_are_refused() {
    assert_refused(&[
        // Values.
        (
            from("ipBlocks: [10.0.0.0/33]"),
            "`10.0.0.0/33` is not an IP address or a CIDR range",
        ),
        (from("ipBlocks: [10.0.0]"), "is not an IP address"),
        (
            from("notRemoteIpBlocks: [localhost]"),
            "is not an IP address",
        ),
        (
            from("serviceAccounts: ['a/b/c']"),
            "is not a service account",
        ),
        (from("serviceAccounts: ['a*']"), "has a wildcard"),
        (
            from("serviceAccounts: [a], namespaces: [b]"),
            "cannot be combined",
        ),
        (to("ports: ['http']"), "`http` is not a port"),
        (
            to("ports: [80]"),
            "expected a string, found the integer `80`",
        ),
        (to("ports: ['70000']"), "is not a port"),
        (to("paths: ['/a/{**}/{*}']"), "operator after `{**}`"),
        (to("paths: ['/a/{b}/{*}']"), "is not a path template"),
        (to("paths: ['/a*/{*}']"), "is not a path template"),
        (to("paths: ['{*}']"), "begins with `/`"),
    ]);
}

#[test]
fn unknown_conditions_and_contradictory_scopes_are_refused() {
    assert_refused(&[
        (
            when("key: source.namespaces, values: [a]"),
            "`source.namespaces` is not a known attribute; did you mean",
        ),
        (
            when("key: request.headers, values: [a]"),
            "`request.headers` needs a name",
        ),
        (
            when("key: 'request.headers[]', values: [a]"),
            "is not a known attribute",
        ),
        (
            when("key: 'request.headers[a b]', values: [a]"),
            "is not the name of a header",
        ),
        (
            when("key: 'request.headers[a][b]', values: [a]"),
            "more than one header",
        ),
        (
            when("key: 'request.auth.claims', values: [a]"),
            "needs a name",
        ),
        (
            when("key: destination.namespace, values: [a]"),
            "the namespace of the policy",
        ),
        (
            when("key: 'destination.labels[a]', values: [a]"),
            "replaced by `selector`",
        ),
        (
            when("key: source.ip"),
            "the required field `values` is missing",
        ),
        (
            when("key: source.ip, values: []"),
            "`values` must not be empty",
        ),
        (when("key: source.ip, values: [a]"), "is not an IP address"),
        (when("values: [a]"), "the required field `key` is missing"),
        // Action and scope.
        ("{action: deny}".into(), "`deny` is not an action"),
        (
            "{action: CUSTOM, rules: [{}]}".into(),
            "the required field `provider` is missing",
        ),
        (
            "{provider: {name: opa}}".into(),
            "`provider` needs `action: CUSTOM`",
        ),
        (
            "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}".into(),
            "exclusive",
        ),
        (
            "{targetRefs: [{kind: ServiceEntry, name: a}]}".into(),
            "is not a kind that a policy can target",
        ),
        (
            "{targetRefs: [{kind: Gateway, name: a}]}".into(),
            "`gateway.networking.k8s.io`",
        ),
        (
            "{targetRefs: [{kind: Service, name: a, namespace: b}]}".into(),
            "its own namespace",
        ),
    ]);
}

#[test]
fn fields_of_the_reference_are_read() {
    let spec = "{selector: {matchLabels: {app: a}}, action: DENY, rules: [{from: [{source: \
                {principals: [a], notNamespaces: [b, c]}}], to: [{operation: {paths: ['/a/{*}']}}], \
                when: [{key: 'request.auth.claims[a][b]', notValues: [x]}]}]}";
    let loaded = read("AuthorizationPolicy", spec);
    let [object] = loaded.objects.as_slice() else {
        panic!("{}", render(&loaded.diagnostics));
    };
    let Resource::AuthorizationPolicy(policy) = &object.resource else {
        panic!("an AuthorizationPolicy");
    };
    assert!(matches!(&policy.applies_to, PolicyScope::Labels(it) if it["app"] == "a"));
    let rule = &policy.rules[0];
    assert_eq!(rule.from[0][0].attribute, Attribute::SourcePrincipal);
    assert_eq!(rule.from[0][1].not_values, ["b", "c"]);
    assert_eq!(rule.to[0][0].values, ["/a/{*}"]);
    let claim = Attribute::RequestClaim(vec!["a".into(), "b".into()]);
    assert_eq!(rule.when[0].attribute, claim);
    for spec in ["{}", "{rules: []}", "{action: DENY}", "{rules: [{}]}"] {
        assert_eq!(errors("AuthorizationPolicy", spec), "", "{spec}");
    }
}

#[test]
fn malformed_roles_are_refused() {
    let role = |rule: &str| format!("{{rules: [{{{rule}}}]}}");
    let subject = |subject: &str| {
        format!("{{subjects: [{{{subject}}}], roleRef: {{kind: ServiceRole, name: r}}}}")
    };
    for (kind, spec, message) in [
        (
            "ClusterRbacConfig",
            "{mode: AN}".to_owned(),
            "`AN` is not a mode",
        ),
        (
            "ClusterRbacConfig",
            "{mode: ON_WITH_INCLUSION}".into(),
            "`inclusion` is missing",
        ),
        (
            "ClusterRbacConfig",
            "{mode: ON_WITH_EXCLUSION}".into(),
            "`exclusion` is missing",
        ),
        ("ClusterRbacConfig", "{mod: 'ON'}".into(), "unknown field"),
        ("ServiceRole", "{}".into(), "`rules` is missing"),
        ("ServiceRole", role("services: []"), "must not be empty"),
        (
            "ServiceRole",
            role("methods: [GET]"),
            "`services` is missing",
        ),
        (
            "ServiceRole",
            role("services: ['*'], method: [GET]"),
            "unknown field",
        ),
        (
            "ServiceRole",
            role("services: ['*'], methods: []"),
            "`methods` must not be empty",
        ),
        (
            "ServiceRole",
            role("services: ['*'], constraints: [{key: a, values: [b]}]"),
            "is not a known attribute",
        ),
        (
            "ServiceRoleBinding",
            subject(""),
            "an empty subject is not allowed",
        ),
        ("ServiceRoleBinding", subject("users: [a]"), "unknown field"),
        (
            "ServiceRoleBinding",
            subject("properties: {source.name: a}"),
            "is not a known attribute",
        ),
        (
            "ServiceRoleBinding",
            "{subjects: [{user: a}]}".into(),
            "`roleRef` is missing",
        ),
        (
            "ServiceRoleBinding",
            "{subjects: [{user: a}], roleRef: {kind: Role, name: r}}".into(),
            "not a kind of role",
        ),
    ] {
        let found = errors(kind, &spec);
        assert!(found.contains(message), "{kind} {spec}\n{found}");
    }
    let other = "apiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\nmetadata: {name: \
                 shop}\nspec: {mode: 'ON'}\n";
    let loaded = read_str(Path::new("text.yaml"), other);
    let text = render(&loaded.diagnostics);
    assert!(
        text.contains("only the object with the name `default`"),
        "{text}"
    );
}

#[test]
fn misspelled_kind_is_refused() {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorisationPolicy\nmetadata: {name: a}\n";
    let loaded = read_str(Path::new("text.yaml"), text);
    let text = render(&loaded.diagnostics);
    assert!(
        text.contains("did you mean `AuthorizationPolicy`?"),
        "{text}"
    );
}
