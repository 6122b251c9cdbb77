//! Who may call what: policies as users write them, with the answers to clients and to
//! guests, the metrics, the log lines, and what the command line says.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{
    Galleria, Host, MeshAuthority, Service, apart, eventually, manifests, with_accounts,
};

/// A mesh in one host, or with a host for each pod.
struct Mesh {
    gateway: Host,
    pods: Vec<Host>,
    folder: tempfile::TempDir,
    _authority: Option<MeshAuthority>,
}

impl Mesh {
    fn start(manifest: &str) -> Self {
        let folder = written(manifest);
        let gateway = Galleria::run(folder.path()).start();
        Self {
            gateway,
            pods: Vec::new(),
            folder,
            _authority: None,
        }
    }

    fn start_apart(manifest: &str) -> Self {
        let folder = written(manifest);
        let pods = apart::pods(manifest);
        let peers: Vec<String> = pods.iter().map(apart::Pod::peer).collect();
        let authority = MeshAuthority::new();
        let host = || {
            let host = Galleria::run(folder.path()).arguments(&peers);
            host.argument(&authority.argument())
        };
        let of_pod = |pod: &apart::Pod| host().declared_ports().arguments(&pod.arguments());
        let pods = pods.iter().map(|pod| of_pod(pod).start()).collect();
        let gateway = host().argument("--gateway").start();
        Self {
            gateway,
            pods,
            folder,
            _authority: Some(authority),
        }
    }

    /// The status that `target` answers to a call of the guest `caller`.
    fn through(&self, caller: &str, target: &str) -> u16 {
        let path = format!("/{caller}/?url={target}");
        let answer = self.gateway.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let status = answer.header("x-upstream-status");
        status.parse().expect("a status")
    }

    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.pods.iter().chain([&self.gateway])
    }

    /// Log lines of denied calls of `path`.
    fn denied(&self, path: &str) -> Vec<Value> {
        eventually("a denied call in the access log", || {
            let calls = self.hosts().flat_map(Host::calls);
            let denied: Vec<_> = calls
                .filter(|call| call["path"] == path && call["response_code"] == 403)
                .collect();
            (!denied.is_empty()).then_some(denied)
        })
    }

    fn explain(&self, arguments: &[&str]) -> String {
        let folder = self.folder.path().to_str().expect("text");
        galleria(&[&["explain", folder], arguments].concat()).1
    }
}

fn written(manifest: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("test.yaml"), manifest).expect("a file");
    folder
}

fn galleria(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_galleria"))
        .args(arguments)
        .output()
        .expect("the binary");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

/// The guests `one` and `two` call `app`, each with a service account of its own name.
fn services() -> String {
    let services = manifests(&[
        Service::new("app", "hello"),
        Service::new("one", "call"),
        Service::new("two", "call"),
    ]);
    with_accounts(&services, &[("one", "one"), ("two", "two")])
}

fn policy(namespace: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: \
         {name}, namespace: {namespace}}}\nspec:\n  {spec}\n"
    )
}

const DENY_TWO: &str = "selector: {matchLabels: {app: app}}
action: DENY
rules:
- from: [{source: {principals: [cluster.local/ns/test/sa/two]}}]
- to: [{operation: {paths: [/private]}}]";

fn assert_denials(mesh: &Mesh) {
    // From a guest, by its account.
    assert_eq!(mesh.through("one", "http://app/a"), 200);
    assert_eq!(mesh.through("two", "http://app/b"), 403);
    // From outside, by the path that the workload sees.
    assert_eq!(mesh.gateway.get("/app/a").status, 200);
    let denied = mesh.gateway.get("/app/private");
    assert_eq!(
        (denied.status, denied.body.as_str()),
        (403, "RBAC: access denied")
    );
    assert_eq!(denied.header("content-type"), "text/plain");
    let rule = |number| {
        format!("rbac_access_denied_matched_policy[ns[test]-policy[deny-two]-rule[{number}]]")
    };
    let has_details = |calls: &[Value], details: &str| {
        calls
            .iter()
            .any(|call| call["response_code_details"] == details && call["response_flags"] == "-")
    };
    assert!(
        has_details(&mesh.denied("/b"), &rule(0)),
        "{:?}",
        mesh.denied("/b")
    );
    let denied = mesh.denied("/app/private");
    let inside = mesh.hosts().flat_map(Host::calls);
    let inside: Vec<_> = inside.filter(|call| call["path"] == "/private").collect();
    assert!(has_details(&[denied, inside].concat(), &rule(1)));
    for reporter in ["source", "destination"] {
        let reporter = format!("reporter=\"{reporter}\"");
        let labels = [
            reporter.as_str(),
            "response_code=\"403\"",
            "destination_workload=\"app\"",
        ];
        eventually("both denials are counted by both sides", || {
            let counts = mesh
                .hosts()
                .map(|it| it.metric("istio_requests_total", &labels));
            (counts.sum::<f64>() == 2.0).then_some(())
        });
    }
}

#[test]
fn denials_in_one_process_are_answered_counted_and_logged() {
    let mesh = Mesh::start(&(services() + &policy("test", "deny-two", DENY_TWO)));
    assert_denials(&mesh);
    let page = mesh.explain(&["--url", "http://app/b", "--from", "test/two"]);
    assert!(
        page.contains("authorization of test/app: DENIED with 403, rbac_access"),
        "{page}"
    );
    let matching = "DENY AuthorizationPolicy test/deny-two, rule 0: MATCHES";
    let line = page.lines().find(|line| line.contains(matching));
    assert!(
        line.is_some_and(|line| line.contains("test.yaml:")),
        "{page}"
    );
    let other = "no  path must match /private, is `/b`";
    assert!(page.contains(other), "{page}");
    let page = mesh.explain(&["--url", "http://app/b", "--from", "test/one"]);
    assert!(
        page.contains("authorization of test/app: allowed"),
        "{page}"
    );
    let reason = "must match cluster.local/ns/test/sa/two, is `cluster.local/ns/test/sa/one`";
    assert!(page.contains(reason), "{page}");
}

#[test]
fn denials_between_hosts_are_the_same() {
    assert_denials(&Mesh::start_apart(
        &(services() + &policy("test", "deny-two", DENY_TWO)),
    ));
}

#[test]
fn policy_changes_take_effect_without_a_restart() {
    let mesh = Mesh::start(&services());
    assert_eq!(mesh.gateway.get("/app/a").status, 200);
    let nothing = policy("test", "nothing", "{}");
    let file = mesh.folder.path().join("policy.yaml");
    std::fs::write(&file, nothing).expect("a file");
    eventually("everything is denied", || {
        let answer = mesh.gateway.get("/app/a");
        (answer.status == 403).then_some(())
    });
    let details = "rbac_access_denied_matched_policy[none]";
    mesh.gateway.call("the reason", |call| {
        call["response_code_details"] == details
    });
    // A policy with a mistake is refused, and the last one stays.
    let wrong = policy("test", "nothing", "rules: [{form: []}]");
    std::fs::write(&file, wrong).expect("a file");
    eventually("the mistake is reported", || {
        mesh.gateway
            .stderr()
            .contains("unknown field")
            .then_some(())
    });
    assert_eq!(mesh.gateway.get("/app/a").status, 403);
    std::fs::remove_file(&file).expect("removed");
    eventually("everything is allowed", || {
        (mesh.gateway.get("/app/a").status == 200).then_some(())
    });
}

#[test]
fn policy_of_the_gateway_is_enforced_before_any_route() {
    let spec = "selector: {matchLabels: {istio: ingressgateway}}
action: DENY
rules: [{to: [{operation: {paths: ['/app/admin*', '/nowhere']}}]}]";
    let mesh = Mesh::start(&(services() + &policy("istio-system", "edge", spec)));
    assert_eq!(mesh.gateway.get("/app/a").status, 200);
    assert_eq!(mesh.gateway.get("/app/admin").status, 403);
    assert_eq!(mesh.gateway.get("/app/x/../admin").status, 403);
    assert_eq!(mesh.gateway.get("/nowhere").status, 403);
    assert_eq!(mesh.gateway.get("/elsewhere").status, 404);
    // Guests do not pass through the gateway.
    assert_eq!(mesh.through("one", "http://app/app/admin"), 200);
    let page = mesh.explain(&["--url", "http://localhost/app/admin"]);
    assert!(page.contains("authorization of gateway: DENIED"), "{page}");
}

#[test]
fn rewrite_does_not_lead_around_a_policy() {
    // `/trick` becomes `/`, so that `/trick../private` becomes `/../private`.
    let rule = "  http:
    - match: [{uri: {prefix: /trick}}]
      rewrite: {uri: /}
      route: [{destination: {host: app}}]
";
    let services = services().replacen("  http:\n", rule, 1);
    let mesh = Mesh::start(&(services + &policy("test", "deny-two", DENY_TWO)));
    assert_eq!(mesh.gateway.get("/trick../open").status, 200);
    assert_eq!(mesh.gateway.get("/trick../private").status, 403);
}

#[test]
fn audit_and_dry_run_are_reported_and_deny_nothing() {
    let audit = "selector: {matchLabels: {app: app}}
action: AUDIT
rules: [{to: [{operation: {paths: [/watched]}}]}]";
    let dry_run = policy("test", "later", "selector: {matchLabels: {app: app}}").replace(
        "namespace: test}",
        "namespace: test, annotations: {istio.io/dry-run: \"true\"}}",
    );
    let mesh = Mesh::start(&[services(), policy("test", "audit", audit), dry_run].concat());
    assert_eq!(mesh.through("one", "http://app/watched"), 200);
    assert_eq!(mesh.gateway.get("/app/a").status, 200);
    eventually("the audited request is in the log", || {
        let log = mesh.gateway.stderr();
        let line = log.lines().find(|line| line.contains("audited request"))?;
        for part in [
            "ns[test]-policy[audit]-rule[0]",
            "cluster.local/ns/test/sa/one",
            "/watched",
        ] {
            assert!(line.contains(part), "{line}");
        }
        Some(())
    });
    let labels = ["action=\"allow\"", "result=\"denied\""];
    let name = "galleria_authorization_dry_runs_total";
    assert_eq!(mesh.gateway.metric(name, &labels), 2.0);
    let audited = mesh.gateway.stderr().matches("audited request").count();
    assert_eq!(audited, 1);
}

#[test]
fn roles_of_the_deck_work_as_written() {
    let services = manifests(&[
        Service::new("productreviewservice", "echo"),
        Service::new("productms", "call"),
        Service::new("productpost", "post"),
        Service::new("ui", "call"),
    ]);
    let accounts = [
        ("productms", "productms-sa"),
        ("productpost", "productms-sa"),
        ("ui", "ui-sa"),
    ];
    let mut manifest = with_accounts(&services, &accounts)
        .replace("namespace: test", "namespace: shoppingportal")
        .replace("metadata: {name: test}", "metadata: {name: shoppingportal}");
    // Everybody may call the callers.
    manifest.push_str(
        "---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRole
metadata: {name: callers, namespace: shoppingportal}
spec: {rules: [{services: [productms.shoppingportal.svc.cluster.local, 'productpost*', 'ui.*']}]}
---
apiVersion: rbac.istio.io/v1alpha1
kind: ServiceRoleBinding
metadata: {name: callers, namespace: shoppingportal}
spec: {subjects: [{user: '*'}], roleRef: {kind: ServiceRole, name: callers}}
",
    );
    let deck = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest/tests/deck");
    let deck: Vec<PathBuf> = [
        "rbac-clusterrbacconfig.yaml",
        "rbac-servicerole-binding.yaml",
    ]
    .map(|file| deck.join(file))
    .into();
    for file in deck {
        manifest.push_str("---\n");
        manifest.push_str(&std::fs::read_to_string(file).expect("the deck's listing"));
    }
    let mesh = Mesh::start(&manifest);
    let reviews = "http://productreviewservice/reviews";
    assert_eq!(mesh.through("productms", reviews), 200);
    assert_eq!(
        mesh.gateway
            .get(&format!("/productpost/?url={reviews}&bytes=3"))
            .status,
        200
    );
    let posted = |call: &Value| call["method"] == "POST" && call["path"] == "/reviews";
    let call = mesh.gateway.call("the POST", posted);
    assert_eq!(call["response_code"], 200);
    assert_eq!(mesh.through("ui", reviews), 403);
    assert_eq!(
        mesh.gateway.get("/productreviewservice/reviews").status,
        403
    );
    let method = mesh
        .gateway
        .send("DELETE", "/productreviewservice/reviews", &[]);
    assert_eq!(method.status, 403);
    let page = mesh.explain(&["--url", reviews, "--from", "shoppingportal/ui"]);
    assert!(
        page.contains("DENIED with 403, rbac_access_denied_matched_policy[none]"),
        "{page}"
    );
    assert!(
        page.contains("ServiceRole shoppingportal/productreviewms-reviews-viewer"),
        "{page}"
    );
}

#[test]
fn check_names_policies_without_effect() {
    let select = policy(
        "test",
        "nothing",
        "selector: {matchLabels: {app: missing}}\nrules: [{}]",
    );
    let never = policy(
        "test",
        "never",
        "rules: [{to: [{operation: {methods: [get]}}]}]",
    );
    let folder = written(&[services(), select, never].concat());
    let (code, page) = galleria(&["check", folder.path().to_str().expect("text")]);
    assert_eq!(code, Some(0), "{page}");
    for part in [
        "AuthorizationPolicy/nothing: spec.selector.matchLabels: no workload of the namespace",
        "[IST0127]",
        "AuthorizationPolicy/never: spec.rules[0].to: can never match `get`",
        "[GAL0039]",
    ] {
        assert!(page.contains(part), "{page}");
    }
}
