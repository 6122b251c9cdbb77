//! Roles of Istio until 1.5.

use super::{mesh, policy};

fn config(spec: &str) -> String {
    format!(
        "---\napiVersion: rbac.istio.io/v1alpha1\nkind: ClusterRbacConfig\nmetadata: {{name: \
         default}}\nspec: {spec}\n"
    )
}

fn role(namespace: &str, rule: &str) -> String {
    format!(
        "---\napiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole\nmetadata: {{name: r, \
         namespace: {namespace}}}\nspec: {{rules: [{rule}]}}\n"
    )
}

fn binding(namespace: &str, subject: &str) -> String {
    format!(
        "---\napiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRoleBinding\nmetadata: {{name: b, \
         namespace: {namespace}}}\nspec: {{subjects: [{subject}], roleRef: {{kind: ServiceRole, \
         name: r}}}}\n"
    )
}

const SERVICES: &str = "---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

const SHOP: &str = "{mode: ON_WITH_INCLUSION, inclusion: {namespaces: [shop]}}";

/// Configurations, and the answers of `shop/app`, `shop/other` and `bank/app` without a role.
#[test]
fn configuration_says_where_roles_are_required() {
    let front = "front.shop.svc.cluster.local";
    let rows = [
        ("{mode: 'OFF'}".to_owned(), "---"),
        ("{}".to_owned(), "---"),
        ("{mode: 'ON'}".to_owned(), "ddd"),
        (SHOP.to_owned(), "dd-"),
        (
            format!("{{mode: ON_WITH_INCLUSION, inclusion: {{services: [{front}]}}}}"),
            "d--",
        ),
        (
            "{mode: ON_WITH_EXCLUSION, exclusion: {namespaces: [shop]}}".to_owned(),
            "--d",
        ),
        (
            format!("{{mode: ON_WITH_EXCLUSION, exclusion: {{services: [{front}]}}}}"),
            "-dd",
        ),
        (
            "{mode: 'ON', enforcementMode: PERMISSIVE}".to_owned(),
            "---",
        ),
    ];
    for (spec, expected) in rows {
        let world = mesh(&(config(&spec) + SERVICES));
        let denied = ["shop/app", "shop/other", "bank/app"].map(|to| {
            if world.ask(to, "GET app/") == "none" {
                'd'
            } else {
                '-'
            }
        });
        assert_eq!(String::from_iter(denied), expected, "{spec}");
    }
}

/// The rule of a role, a subject, and requests with whether they are allowed.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, bool)]);

/// Rules of a role and a subject, and requests to `shop/app`.
#[test]
fn roles_allow() {
    let any = "{services: ['*']}";
    let ui = "{user: cluster.local/ns/shop/sa/ui}";
    let everybody = "{user: '*'}";
    #[rustfmt::skip]
    let rows: &[Row] = &[
        (any, ui, &[("GET app/ from=shop/ui", true), ("GET app/ from=shop/x", false), ("GET app/ from=nobody", false),
            ("GET app/ from=client", false)]),
        // Everybody, even without an identity.
        (any, everybody, &[("GET app/ from=nobody", true), ("GET app/ from=shop/x", true)]),
        (any, "{user: allUsers}", &[("GET app/ from=nobody", true)]),
        (any, "{user: allAuthenticatedUsers}", &[("GET app/ from=nobody", false), ("GET app/ from=shop/x", true)]),
        (any, "{user: 'cluster.local/ns/shop/*'}", &[("GET app/ from=shop/x", true), ("GET app/ from=bank/x", false)]),
        (any, "{group: admins}", &[("GET app/ claim:groups=[\"admins\"]", true), ("GET app/ claim:groups=\"x\"", false)]),
        (any, "{properties: {source.namespace: bank}}", &[("GET app/ from=bank/x", true), ("GET app/ from=shop/x", false)]),
        // Properties and the user must all match.
        (any, "{user: '*', properties: {source.namespace: bank, 'request.headers[a]': b}}", &[
            ("GET app/ from=bank/x h:a=b", true), ("GET app/ from=bank/x", false), ("GET app/ h:a=b", false)]),
        // Services.
        ("{services: [front.shop.svc.cluster.local]}", everybody, &[("GET app/", true)]),
        ("{services: [back.shop.svc.cluster.local]}", everybody, &[("GET app/", false)]),
        ("{services: ['front*']}", everybody, &[("GET app/", true)]),
        ("{services: ['*.shop.svc.cluster.local']}", everybody, &[("GET app/", true)]),
        ("{services: [front]}", everybody, &[("GET app/", false)]),
        // Methods and paths.
        ("{services: ['*'], methods: [GET, POST]}", everybody, &[("POST app/", true), ("DELETE app/", false)]),
        ("{services: ['*'], methods: ['*']}", everybody, &[("DELETE app/", true)]),
        ("{services: ['*'], paths: [/a, '/b/*', '*/c']}", everybody, &[("GET app/a", true), ("GET app/b/x", true),
            ("GET app/x/c", true), ("GET app/x", false)]),
        ("{services: ['*'], methods: [GET], paths: [/a]}", everybody, &[("GET app/a", true), ("POST app/a", false),
            ("GET app/b", false)]),
        // Constraints.
        ("{services: ['*'], constraints: [{key: 'destination.labels[version]', values: [v1, v2]}]}", everybody,
            &[("GET app/", true)]),
        ("{services: ['*'], constraints: [{key: 'destination.labels[version]', values: [v2]}]}", everybody,
            &[("GET app/", false)]),
        ("{services: ['*'], constraints: [{key: destination.name, values: [app]}, {key: destination.user, values: [app]}]}",
            everybody, &[("GET app/", true)]),
        ("{services: ['*'], constraints: [{key: destination.port, values: ['8080']}]}", everybody,
            &[("GET app/", true), ("GET app/ port=81", false)]),
        ("{services: ['*'], constraints: [{key: 'request.headers[v]', values: ['1', '2*']}]}", everybody,
            &[("GET app/ h:v=1", true), ("GET app/ h:v=22", true), ("GET app/", false)]),
    ];
    for (rule, subject, requests) in rows {
        let yaml = [
            config(SHOP),
            role("shop", rule),
            binding("shop", subject),
            SERVICES.into(),
        ];
        let world = mesh(&yaml.concat());
        for (request, is_allowed) in *requests {
            let expected = if *is_allowed { "allow" } else { "none" };
            assert_eq!(
                world.ask("shop/app", request),
                expected,
                "{rule} {subject} {request}"
            );
        }
    }
}

#[test]
fn role_is_for_its_namespace() {
    let yaml = [
        config(SHOP),
        role("bank", "{services: ['*']}"),
        binding("bank", "{user: '*'}"),
    ];
    assert_eq!(mesh(&yaml.concat()).ask("shop/app", "GET app/"), "none");
    // A binding without a role permits nothing, and says so.
    let world = mesh(&[config(SHOP), binding("shop", "{user: '*'}")].concat());
    assert_eq!(world.ask("shop/app", "GET app/"), "none");
    assert!(
        world.diagnostics[0].contains("[IST0101]"),
        "{:?}",
        world.diagnostics
    );
}

#[test]
fn permissive_binding_permits_nothing() {
    let binding = binding("shop", "{user: '*'}").replace("spec: {", "spec: {mode: PERMISSIVE, ");
    let world = mesh(&[config(SHOP), role("shop", "{services: ['*']}"), binding].concat());
    assert_eq!(world.ask("shop/app", "GET app/"), "none");
}

#[test]
fn policy_of_today_replaces_roles() {
    let workload = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, namespace: \
                    shop}\nspec:\n  selector: {matchLabels: {app: app}}\n  template:\n    metadata: \
                    {labels: {app: app}}\n    spec: {containers: [{name: x, image: x:1}]}\n";
    let allow = policy(
        "shop",
        "p",
        "selector: {matchLabels: {app: app}}\nrules: [{}]",
    );
    let world = mesh(&[config(SHOP), allow, workload.into()].concat());
    assert_eq!(world.ask("shop/app", "GET app/"), "allow");
    assert_eq!(world.ask("shop/other", "GET app/"), "none");
    let [diagnostic] = world.diagnostics.as_slice() else {
        unreachable!("{:?}", world.diagnostics);
    };
    assert!(
        diagnostic.contains("replaces the ServiceRoles for `shop/app`"),
        "{diagnostic}"
    );
}

#[test]
fn roles_of_the_deck_work_as_written() {
    let deck = [
        include_str!("../../../../manifest/tests/deck/rbac-clusterrbacconfig.yaml"),
        "---\n",
        include_str!("../../../../manifest/tests/deck/rbac-servicerole-binding.yaml"),
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: productreviewservice, namespace: \
         shoppingportal}\nspec: {selector: {app: review}, ports: [{name: http, port: 80}]}\n",
    ];
    let world = crate::world::World::new(&deck.concat())
        .pods("shoppingportal", "review", &[("app", "review")], 1)
        .pods("shoppingportal", "product", &[("app", "product")], 1);
    for (to, request, expected) in [
        (
            "review",
            "GET r/reviews from=shoppingportal/productms-sa",
            "allow",
        ),
        (
            "review",
            "POST r/reviews from=shoppingportal/productms-sa",
            "allow",
        ),
        (
            "review",
            "DELETE r/reviews from=shoppingportal/productms-sa",
            "none",
        ),
        ("review", "GET r/reviews from=shoppingportal/ui-sa", "none"),
        ("review", "GET r/reviews from=client", "none"),
        ("review", "GET r/reviews from=nobody", "none"),
        ("product", "GET p/ from=shoppingportal/productms-sa", "none"),
    ] {
        let to = format!("shoppingportal/{to}");
        assert_eq!(world.ask(&to, request), expected, "{to} {request}");
    }
}
