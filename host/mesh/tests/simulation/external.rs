//! External authorization: which service is asked about a request, and what is denied without
//! asking.

use galleria_mesh::inbound::external;
use http::StatusCode;

use crate::authorization::{Asked, mesh};
use crate::world::World;

const SERVICES: &str = "---
apiVersion: v1
kind: Service
metadata: {name: opa, namespace: auth}
spec: {ports: [{name: grpc, port: 9191}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: auth}
spec:
  hosts: [auth.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: twice, namespace: auth}
spec: {hosts: [twice.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: twice, namespace: other}
spec: {hosts: [twice.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: none, namespace: auth}
spec: {hosts: [none.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - {name: opa, envoyExtAuthzGrpc: {service: opa.auth.svc.cluster.local, port: 9191}}
    - {name: http, envoyExtAuthzHttp: {service: auth.example.com, port: 80, failOpen: true}}
    - {name: spaced, envoyExtAuthzHttp: {service: auth/twice.example.com, port: 80}}
    - {name: short, envoyExtAuthzGrpc: {service: opa, port: 9191}}
    - {name: port, envoyExtAuthzGrpc: {service: opa.auth.svc.cluster.local, port: 9192}}
    - {name: several, envoyExtAuthzHttp: {service: twice.example.com, port: 80}}
    - {name: none, envoyExtAuthzHttp: {service: none.example.com, port: 80}}
    - {name: tracer, zipkin: {service: opa, port: 9191}}
";

fn custom(namespace: &str, name: &str, provider: &str, rest: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: \
         {name}, namespace: {namespace}}}\nspec:\n  action: CUSTOM\n  provider: {{name: \
         {provider}}}\n  {}\n",
        rest.replace('\n', "\n  ")
    )
}

const ALL: &str = "rules: [{}]";
const GET: &str = "rules: [{to: [{operation: {methods: [GET]}}]}]";

/// The name of the provider that is asked, `-` if none is, or the rule that denies.
fn asked(world: &World, to: &str, request: &str) -> String {
    let workload = world.workload(to);
    let Some(policies) = world.snapshot.inbound_policies(&workload) else {
        return "-".into();
    };
    let asked = Asked::parse(request);
    let answer = external::decide(policies, &asked.inbound(&workload));
    answer_of(answer.map(|it| it.map(|it| it.name.clone())))
}

fn answer_of(answer: Result<Option<String>, galleria_mesh::LocalReply>) -> String {
    match answer {
        Ok(None) => "-".into(),
        Ok(Some(provider)) => provider,
        Err(reply) => {
            assert_eq!(reply.status, StatusCode::FORBIDDEN);
            assert_eq!(reply.body, "RBAC: access denied");
            reply.details.into_owned()
        }
    }
}

fn world(policies: &str) -> World {
    mesh(&(SERVICES.to_owned() + policies))
}

/// Policies, and the answers of `shop/app`, `shop/other` and `bank/app` to GET and to POST of
/// `shop/app`.
#[test]
fn policies_say_who_is_asked() {
    let select = |rules: &str| format!("selector: {{matchLabels: {{app: app}}}}\n{rules}");
    let allow = "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: \
                 {name: a, namespace: shop}\nspec: {rules: [{}]}\n";
    let rows = [
        (String::new(), ["-", "-", "-", "-"]),
        (allow.to_owned(), ["-", "-", "-", "-"]),
        (custom("shop", "c", "opa", ALL), ["opa", "opa", "-", "opa"]),
        (custom("shop", "c", "opa", GET), ["opa", "opa", "-", "-"]),
        (
            custom("shop", "c", "opa", &select(ALL)),
            ["opa", "-", "-", "opa"],
        ),
        (
            custom("istio-system", "c", "opa", ALL),
            ["opa", "opa", "opa", "opa"],
        ),
        (
            custom("shop", "c", "http", ALL),
            ["http", "http", "-", "http"],
        ),
        (
            custom("shop", "c", "spaced", ALL),
            ["spaced", "spaced", "-", "spaced"],
        ),
        // Without rules, a policy matches nothing.
        (
            custom("shop", "c", "opa", "rules: []"),
            ["-", "-", "-", "-"],
        ),
        // Several policies with the same provider.
        (
            custom("shop", "c", "opa", &select(GET)) + &custom("shop", "d", "opa", &select(ALL)),
            ["opa", "-", "-", "opa"],
        ),
        // Different providers for different workloads.
        (
            custom("shop", "c", "opa", &select(ALL)) + &custom("bank", "d", "http", ALL),
            ["opa", "-", "http", "opa"],
        ),
    ];
    for (policies, [app, other, bank, post]) in rows {
        let world = world(&policies);
        assert_eq!(asked(&world, "shop/app", "GET app/"), app, "{policies}");
        assert_eq!(asked(&world, "shop/other", "GET app/"), other, "{policies}");
        assert_eq!(asked(&world, "bank/app", "GET app/"), bank, "{policies}");
        assert_eq!(asked(&world, "shop/app", "POST app/"), post, "{policies}");
    }
}

/// A provider, and why it cannot be asked.
#[test]
fn provider_that_cannot_be_asked_denies() {
    for (provider, reason) in [
        (
            "unknown",
            "there is no provider `unknown` in extensionProviders",
        ),
        ("short", "no Service and no ServiceEntry declares `opa`"),
        ("port", "`opa.auth.svc.cluster.local` has no port 9192"),
        ("several", "several namespaces declare `twice.example.com`"),
        ("none", "`none.example.com` has no address of its own"),
        (
            "tracer",
            "the provider `tracer` is not one of external authorization",
        ),
    ] {
        let world = world(&custom("shop", "c", provider, GET));
        let details = format!(
            "rbac_access_denied_matched_policy[istio-ext-authz-{provider}-ns[shop]-policy[c]-\
             rule[0]-deny-due-to-bad-CUSTOM-action]"
        );
        assert_eq!(asked(&world, "shop/app", "GET app/"), details);
        // What no rule matches is not concerned.
        assert_eq!(asked(&world, "shop/app", "POST app/"), "-");
        let [diagnostic] = world.diagnostics.as_slice() else {
            unreachable!("{:?}", world.diagnostics);
        };
        assert!(diagnostic.contains(reason), "{diagnostic}");
        assert!(
            diagnostic.contains("requests that match a rule are denied"),
            "{diagnostic}"
        );
    }
}

#[test]
fn workload_has_one_provider() {
    let policies = custom("shop", "c", "opa", GET) + &custom("shop", "d", "http", ALL);
    let world = world(&policies);
    let workload = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app, namespace: \
                    shop}\nspec:\n  selector: {matchLabels: {app: app}}\n  template:\n    metadata: \
                    {labels: {app: app}}\n    spec: {containers: [{name: x, image: x:1}]}\n";
    let details = asked(&world, "shop/app", "GET app/");
    assert!(details.contains("istio-ext-authz-"), "{details}");
    assert!(
        details.contains("-deny-due-to-bad-CUSTOM-action"),
        "{details}"
    );
    let details = asked(&world, "shop/app", "POST app/");
    assert!(
        details.contains("policy[d]-rule[0]-deny-due-to-bad-CUSTOM-action"),
        "{details}"
    );
    let world = self::world(&(policies + workload));
    assert_eq!(world.diagnostics.len(), 2, "{:?}", world.diagnostics);
    let message = "the policies for `shop/app` name several providers (http, opa)";
    assert!(
        world.diagnostics.iter().all(|it| it.contains(message)),
        "{:?}",
        world.diagnostics
    );
}

#[test]
fn dry_run_has_no_effect_and_says_so() {
    let policy = custom("shop", "c", "opa", ALL).replace(
        "namespace: shop}",
        "namespace: shop, annotations: {istio.io/dry-run: 'true'}}",
    );
    let world = world(&policy);
    assert_eq!(asked(&world, "shop/app", "GET app/"), "-");
    assert!(
        world.diagnostics[0].contains("CUSTOM has no dry run"),
        "{:?}",
        world.diagnostics
    );
}

#[test]
fn gateway_asks_before_any_route() {
    let edge = custom(
        "istio-system",
        "c",
        "opa",
        "selector: {matchLabels: {istio: ingressgateway}}\nrules: [{to: [{operation: {paths: \
         [/private*]}}]}]",
    );
    let world = world(&edge);
    let gateway = world.snapshot.gateway_workload();
    for (request, expected) in [("GET a.example/private/x", "opa"), ("GET a.example/", "-")] {
        let policies = world
            .snapshot
            .gateway_policies(80, "a.example")
            .expect("policies");
        let asked = Asked::parse(request);
        let answer = external::decide(policies, &asked.inbound(gateway));
        assert_eq!(
            answer_of(answer.map(|it| it.map(|it| it.name.clone()))),
            expected
        );
    }
    assert_eq!(asked(&world, "shop/app", "GET app/private/x"), "-");
}
