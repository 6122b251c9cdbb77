//! NetworkPolicies: from outside, between guests, and to servers outside the mesh.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::external::{server, service_entry};
use super::{Shop, flags, with_rules};
use crate::support::{Service, eventually};

const PROBE: &str = "{httpGet: {path: /, port: 8080}, periodSeconds: 1}";

/// The services `call`, which calls what its request names, and `app`.
fn shop(rules: &str, documents: &[String]) -> String {
    let services = [
        Service::new("call", "call"),
        Service::new("app", "hello").probe("readinessProbe", PROBE),
    ];
    with_rules(&services, rules, documents)
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}, namespace: test}}
spec: {spec}
"
    )
}

fn details(call: &Value) -> &str {
    call["response_code_details"].as_str().expect("details")
}

/// Waits until a request for `path` has this status.
#[track_caller]
fn becomes(shop: &Shop, path: &str, status: u16) {
    eventually(&format!("{path} has the status {status}"), || {
        (shop.host.get(path).status == status).then_some(())
    });
}

/// Waits until the service `call` gets this status for what `path` names.
#[track_caller]
fn guest_gets(shop: &Shop, path: &str, status: &str) {
    eventually(&format!("the guest gets {status} for {path}"), || {
        (shop.host.get(path).header("x-upstream-status") == status).then_some(())
    });
}

#[test]
fn client_is_denied_until_a_policy_allows_its_address() {
    let deny = policy("default-deny", "{podSelector: {}}");
    let shop_of = |other: &[String]| {
        let documents: Vec<String> = [deny.clone()].into_iter().chain(other.to_vec()).collect();
        shop("", &documents)
    };
    let running = Shop::start(&shop_of(&[]));
    let answer = running.host.get("/app/");
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("connection failure"),
        "{}",
        answer.body
    );
    let call = &running.calls("/app/", 1)[0];
    // The pod is ready: its probes pass.
    assert_eq!(
        (flags(call), details(call)),
        ("UF", "network_policy_denied{ingress:test/default-deny}")
    );
    running.counted(
        &[
            "destination_workload=\"app\"",
            "response_code=\"503\"",
            "response_flags=\"UF\"",
        ],
        1.0,
    );

    let message = "no ingress rule of NetworkPolicy test/default-deny allows client 127.0.0.1 to \
                   connect to test/app on port 8080";
    eventually("the policy has an event", || {
        let mut hosts = running.hosts();
        hosts
            .any(|host| {
                host.objects("Event").iter().any(|event| {
                    event["reason"] == "NetworkPolicyDenied"
                        && event["type"] == "Warning"
                        && event["involvedObject"]["kind"] == "NetworkPolicy"
                        && event["involvedObject"]["name"] == "default-deny"
                        && event["message"] == message
                })
            })
            .then_some(())
    });
    eventually("the log names the policy", || {
        running
            .hosts()
            .any(|host| host.stderr().contains(message))
            .then_some(())
    });

    let allow = |cidr: &str| {
        let from = format!("[{{from: [{{ipBlock: {{cidr: {cidr}}}}}], ports: [{{port: 8080}}]}}]");
        policy(
            "clients",
            &format!("{{podSelector: {{matchLabels: {{app: app}}}}, ingress: {from}}}"),
        )
    };
    running.write(&shop_of(&[allow("127.0.0.0/8")]));
    becomes(&running, "/app/", 200);
    running.write(&shop_of(&[allow("192.0.2.0/24")]));
    becomes(&running, "/app/", 503);
    // The gateway is a pod of istio-system.
    let gateway = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: \
                   {kubernetes.io/metadata.name: istio-system}}, podSelector: {matchLabels: \
                   {istio: ingressgateway}}}]}]}";
    running.write(&shop_of(&[policy("gateway", gateway)]));
    becomes(&running, "/app/", 200);
}

#[test]
fn calls_between_guests_pass_both_ends() {
    let path = "/call/?url=http://app/hello";
    let from = |app: &str| {
        let spec = format!(
            "{{podSelector: {{matchLabels: {{app: app}}}}, ingress: [{{from: [{{podSelector: \
             {{matchLabels: {{app: {app}}}}}}}]}}]}}"
        );
        shop("", &[policy("to-app", &spec)])
    };
    let running = Shop::start(&from("other"));
    let answer = running.host.get(path);
    assert_eq!(answer.header("x-upstream-status"), "503", "{}", answer.body);
    let call = &running.calls("/hello", 1)[0];
    assert_eq!(
        (flags(call), details(call)),
        ("UF", "network_policy_denied{ingress:test/to-app}")
    );
    assert_eq!(call["source_workload"], "test/call");
    running.write(&from("call"));
    guest_gets(&running, path, "200");

    let egress = "{podSelector: {matchLabels: {app: call}}, policyTypes: [Egress]}";
    running.write(&shop("", &[policy("no-egress", egress)]));
    guest_gets(&running, path, "503");
    let denied = |call: &Value| details(call) == "network_policy_denied{egress:test/no-egress}";
    eventually("the access log names the policy", || {
        running.calls("/hello", 1).iter().any(denied).then_some(())
    });
}

#[test]
fn servers_outside_are_reached_by_the_addresses_that_a_policy_allows() {
    let address = server();
    let path = "/call/?url=http://api.example.com/price";
    for resolution in ["STATIC", "DNS"] {
        let egress = |cidr: &str| {
            let to = format!("[{{to: [{{ipBlock: {{cidr: {cidr}}}}}]}}]");
            let spec = format!(
                "{{podSelector: {{matchLabels: {{app: call}}}}, policyTypes: [Egress], egress: {to}}}"
            );
            shop(
                "",
                &[service_entry(address, resolution), policy("outside", &spec)],
            )
        };
        let running = Shop::start(&egress("10.0.0.0/8"));
        let answer = running.host.get(path);
        assert_eq!(answer.header("x-upstream-status"), "503", "{}", answer.body);
        let call = &running.calls("/price", 1)[0];
        assert_eq!(
            (flags(call), details(call)),
            ("UF", "network_policy_denied{egress:test/outside}")
        );
        running.write(&egress("127.0.0.0/8"));
        guest_gets(&running, path, "200");
        running.write(&egress("10.0.0.0/8"));
        // The connection that is open is not used.
        guest_gets(&running, path, "503");
    }
}

#[test]
fn drop_mode_lets_the_caller_wait() {
    let rule = "    - match: [{uri: {prefix: /app/}}]\n      timeout: 1s\n      route: [{destination: {host: app}}]\n";
    let manifest = shop(rule, &[policy("default-deny", "{podSelector: {}}")]);
    let running = Shop::start_with(&manifest, &["--network-policy-deny", "drop"]);
    let started = Instant::now();
    let answer = running.host.get("/app/");
    let waited = started.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(
        waited >= Duration::from_secs(1) && waited < Duration::from_secs(8),
        "{waited:?}"
    );
    assert_eq!(flags(&running.calls("/app/", 1)[0]), "UT");
}

#[test]
fn explanation_names_the_policy() {
    let manifest = shop(
        "",
        &[policy(
            "default-deny",
            "{podSelector: {matchLabels: {app: app}}}",
        )],
    );
    let running = Shop::start(&manifest);
    let page = running
        .host
        .galleria(&["explain", "--url", &running.host.url("/app/")]);
    let page = page.stdout;
    let line = page.lines().find(|line| line.contains("no ingress rule"));
    let line = line.unwrap_or_else(|| panic!("{page}"));
    assert!(
        line.contains("NetworkPolicy test/default-deny") && line.contains("test.yaml:"),
        "{line}"
    );
    assert!(page.contains("503 UF"), "{page}");
}
