//! Who may call what: policies as YAML, and requests with the right answer.

mod asked;
mod legacy;
mod model;
mod naive;
mod random;
mod scope;
mod table;

use std::sync::Arc;

use galleria_manifest::model::Labels;
use galleria_mesh::inbound::Peer;
use galleria_mesh::inbound::authorization::observe;
use galleria_mesh::{Options, Workload};
use serde_json::json;

pub(super) use self::asked::Asked;
use crate::world::World;

/// The workloads of the tables: `shop/app`, `shop/other`, `bank/app`.
pub(super) fn mesh(yaml: &str) -> World {
    World::new(yaml)
        .pods("shop", "app", &[("app", "app"), ("version", "v1")], 1)
        .pods("shop", "other", &[("app", "other")], 1)
        .pods("bank", "app", &[("app", "app")], 1)
}

impl World {
    /// What `to`, as `namespace/name`, answers.
    pub(super) fn ask(&self, to: &str, request: &str) -> String {
        let workload = self.workload(to);
        let policies = self.snapshot.inbound_policies(&workload);
        Asked::parse(request).answer(policies, &workload)
    }

    pub(crate) fn workload(&self, name: &str) -> Arc<Workload> {
        let mut workloads = self.snapshot.workloads();
        let found = workloads.find(|it| format!("{}/{}", it.namespace, it.name) == name);
        Arc::clone(found.expect("a workload with pods"))
    }

    /// What the gateway answers.
    pub(super) fn ask_gateway(&self, request: &str) -> String {
        let mut asked = Asked::parse(request);
        asked.peer = Peer::Unknown;
        asked.source_ip = Some("198.51.100.7".parse().expect("an address"));
        let gateway = self.snapshot.gateway_workload();
        let host = asked.authority.split(':').next().unwrap_or_default();
        let policies = self.snapshot.gateway_policies(asked.port, host);
        asked.answer(policies, gateway)
    }
}

/// A policy with this `spec`, written as in a manifest without the two leading spaces.
pub(super) fn policy(namespace: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: \
         {{name: {name}, namespace: {namespace}}}\nspec:\n  {spec}\n"
    )
}

/// Callers are `new.example/ns/NAMESPACE/sa/ACCOUNT`.
#[test]
fn principals_name_the_trust_domain_or_an_alias_of_it() {
    let options = Options {
        trust_domain: "new.example".into(),
        ..Options::default()
    };
    let config = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: \
                  istio-system}\ndata: {mesh: 'trustDomainAliases: [old.example]'}\n";
    for (source, admits) in [
        ("principals: [new.example/ns/shop/sa/ui]", true),
        ("principals: [old.example/ns/shop/sa/ui]", true),
        ("principals: [cluster.local/ns/shop/sa/ui]", true),
        ("principals: [other.example/ns/shop/sa/ui]", false),
        ("principals: ['*/sa/ui']", true),
        ("principals: ['cluster.local/*']", false),
        ("principals: [new.example/ns/shop/sa/cart]", false),
        ("notPrincipals: [old.example/ns/shop/sa/ui]", false),
        ("notPrincipals: [other.example/ns/shop/sa/ui]", true),
        ("trustDomains: [new.example]", true),
        ("trustDomains: [old.example]", true),
        ("trustDomains: [cluster.local]", false),
        ("namespaces: [shop]", true),
        ("serviceAccounts: [shop/ui]", true),
    ] {
        let rule = format!("rules: [{{from: [{{source: {{{source}}}}}]}}]");
        let yaml = config.to_owned() + &policy("shop", "p", &rule);
        let world = World::with_options(&yaml, options.clone());
        let world = world.pods("shop", "app", &[("app", "app")], 1);
        let answer = world.ask("shop/app", "GET app/ from=shop/ui");
        assert_eq!(answer == "allow", admits, "{source}: {answer}");
    }
}

#[test]
fn workload_without_a_policy_has_none() {
    let world = mesh(&policy("shop", "p", "selector: {matchLabels: {app: app}}"));
    let other = world.workload("shop/other");
    assert!(world.snapshot.inbound_policies(&other).is_none());
    let app = world.workload("shop/app");
    assert!(world.snapshot.inbound_policies(&app).is_some());
    // A pod of an earlier snapshot has an equal workload at another address.
    let copy = Arc::new(Workload::clone(&app));
    assert!(world.snapshot.inbound_policies(&copy).is_some());
    let stranger = Arc::new(Workload::new("shop", "new", "new", Labels::new()));
    assert!(world.snapshot.inbound_policies(&stranger).is_none());
}

#[test]
fn audit_and_dry_run_report_and_do_not_decide() {
    let dry_run = |policy: String| {
        policy.replace(
            "namespace: shop}",
            "namespace: shop, annotations: {istio.io/dry-run: \"true\"}}",
        )
    };
    let yaml = [
        policy(
            "shop",
            "audit",
            "action: AUDIT\nrules: [{to: [{operation: {methods: [GET]}}]}]",
        ),
        dry_run(policy(
            "shop",
            "deny",
            "action: DENY\nrules: [{to: [{operation: {paths: [/a]}}]}]",
        )),
        dry_run(policy(
            "shop",
            "allow",
            "rules: [{to: [{operation: {paths: [/b]}}]}]",
        )),
    ]
    .concat();
    let world = mesh(&yaml);
    let app = world.workload("shop/app");
    let policies = world.snapshot.inbound_policies(&app).expect("policies");
    for (request, expected) in [
        ("GET app/a", "audit 0, deny true 0, allow true -"),
        ("GET app/b", "audit 0, deny false -, allow false 0"),
        ("POST app/c", "deny false -, allow true -"),
    ] {
        assert_eq!(world.ask("shop/app", request), "allow");
        let asked = Asked::parse(request);
        let observed = observe(policies, &asked.inbound(&app));
        let observed: Vec<_> = observed.iter().map(describe).collect();
        assert_eq!(observed.join(", "), expected, "{request}");
    }
}

fn describe(observation: &galleria_mesh::inbound::authorization::Observation) -> String {
    use galleria_mesh::inbound::authorization::{DryRunAction, Observation};
    let number = |name: &str| name.split("-rule[").nth(1).expect("a number")[..1].to_owned();
    match observation {
        Observation::Audited(rule) => format!("audit {}", number(&rule.name)),
        Observation::DryRun {
            action,
            is_denied,
            rule,
        } => {
            let action = match action {
                DryRunAction::Allow => "allow",
                DryRunAction::Deny => "deny",
            };
            let rule = rule.as_ref().map_or("-".into(), |rule| number(&rule.name));
            format!("{action} {is_denied} {rule}")
        }
    }
}

#[test]
fn of_many_rules_that_match_the_first_by_name_is_reported() {
    // More rules than are tested one by one, of every kind of index.
    let mut rules = String::from("action: DENY\nrules:");
    for number in 0..40 {
        let rule = match number % 4 {
            0 => format!("to: [{{operation: {{paths: [/p{number}, /shared]}}}}]"),
            1 => format!("from: [{{source: {{principals: [cluster.local/ns/n{number}/sa/a]}}}}]"),
            2 => format!("to: [{{operation: {{paths: [/q{number}/*]}}}}]"),
            _ => format!(
                "from: [{{source: {{principals: [cluster.local/ns/shared/sa/a]}}}}]\n  to: \
                 [{{operation: {{methods: [M{number}]}}}}]"
            ),
        };
        rules.push_str(&format!("\n- {rule}"));
    }
    let world = mesh(&policy("shop", "p", &rules));
    for (request, rule) in [
        ("GET app/p8", "8"),
        // By name, 12 is before 4.
        ("GET app/shared", "0"),
        ("M12 app/p12", "12"),
        ("GET app/x from=n13/a", "13"),
        ("GET app/q14/x", "14"),
        ("GET app/q14/x/y/z", "14"),
        ("GET app/q14", ""),
        ("GET app/p36 from=n13/a", "13"),
        ("M39 app/x from=shared/a", "39"),
        ("M39 app/x from=shared/b", ""),
        ("M39 app/q38/x from=shared/a", "38"),
        ("GET app/x from=nobody", ""),
    ] {
        let expected = match rule {
            "" => "allow".to_owned(),
            rule => format!("ns[shop]-policy[p]-rule[{rule}]"),
        };
        assert_eq!(world.ask("shop/app", request), expected, "{request}");
    }
}

#[test]
fn explanation_says_why_each_rule_matches_or_not() {
    let spec = "action: DENY\nrules:\n- from: [{source: {namespaces: [bank]}}]\n  to: \
                [{operation: {methods: [GET]}}]\n  when: [{key: 'request.headers[x]', values: [a]}]";
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: app, namespace: shop}\n\
                   spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: 8080}]}\n";
    let mut world = mesh(&(policy("shop", "p", spec) + service));
    let mut ask = |namespace: &str| {
        let explanation = world.from(namespace, "app", "http://app.shop/a").explain();
        let destination = explanation.destinations.into_iter().next();
        let steps = destination.expect("a destination").authorization;
        serde_json::to_value(steps).expect("JSON")
    };
    let steps = ask("bank");
    assert_eq!(steps[0]["workload"], "shop/app");
    assert_eq!(steps[0]["allowed"], true);
    let rule = &steps[0]["rules"][0];
    assert_eq!(rule["action"], "DENY");
    assert_eq!(rule["name"], "ns[shop]-policy[p]-rule[0]");
    assert_eq!(rule["matched"], false);
    assert_eq!(rule["at"]["line"], 8);
    assert_eq!(rule["from"][0]["matched"], true);
    let condition = json!({
        "field": "header x", "expected": "a", "actual": null, "matched": false
    });
    assert_eq!(rule["when"][0], condition);
    let other = ask("shop");
    let condition = json!({
        "field": "source.namespace", "expected": "bank",
        "actual": "cluster.local/ns/shop/sa/app", "matched": false
    });
    assert_eq!(other[0]["rules"][0]["from"][0]["conditions"][0], condition);
}
