//! The audit log of the admin API.

use std::path::Path;

use serde_json::Value;

use crate::support::{
    Galleria, Host, Service, eventually, kubeconfig, kubectl, kubectl_fed, kubectl_with, manifests,
};

const NEEDLES: [&str; 2] = ["tr0ub4dor-and-5", "dHIwdWI0ZG9yLWFuZC01"];

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: test}\n\
                      stringData: {password: tr0ub4dor-and-5}\n";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: colours, namespace: test}\n\
                   data: {first: red}\n";

fn start(folder: &Path, policy: &str, log: &str) -> Host {
    let file = folder.join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("hello", "hello")])).expect("a file");
    let policy_file = folder.join("policy.yaml.txt");
    std::fs::write(&policy_file, policy).expect("a file");
    let policy_file = policy_file.to_str().expect("text");
    Galleria::run(&file)
        .arguments(&["--audit-policy-file", policy_file, "--audit-log-path", log])
        .start()
}

fn events(text: &str) -> Vec<Value> {
    let lines = text.lines();
    let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events
        .filter(|event| event["kind"] == "Event" && event["auditID"].is_string())
        .collect()
}

/// The events of a file that match, once there are any.
#[track_caller]
fn found(log: &Path, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually("the events are written", || {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let found: Vec<_> = events(&text).into_iter().filter(&wanted).collect();
        (!found.is_empty()).then_some(found)
    })
}

fn is_of(event: &Value, verb: &str, resource: &str, stage: &str) -> bool {
    event["verb"] == verb && event["objectRef"]["resource"] == resource && event["stage"] == stage
}

#[test]
fn requests_are_logged_as_the_policy_says_and_never_a_value_of_a_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("audit.log");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitManagedFields: true\nrules:\n\
        - {level: None, nonResourceURLs: ['*']}\n\
        - {level: None, resources: [{group: '', resources: [events]}]}\n\
        - {level: RequestResponse}\n";
    let host = start(folder.path(), policy, log.to_str().expect("text"));
    kubectl_fed(&host, &["create"], SECRET);
    kubectl_fed(&host, &["create"], MAP);
    kubectl(&host, &["get", "secrets", "-n", "test", "-o", "yaml"]);
    kubectl_fed(&host, &["apply"], SECRET);
    let config = kubeconfig(&host, &["--read-only"]);
    let refused = kubectl_with(&host, &config, &["get", "secret", "login", "-n", "test"]);
    assert_eq!(refused.code, Some(1));

    let created = found(&log, |it| {
        is_of(it, "create", "configmaps", "ResponseComplete")
    });
    let event = &created[0];
    assert_eq!(event["apiVersion"], "audit.k8s.io/v1");
    assert_eq!(event["level"], "RequestResponse");
    assert_eq!(event["user"]["username"], "galleria:full");
    assert_eq!(event["sourceIPs"][0], "127.0.0.1");
    assert_eq!(event["objectRef"]["name"], "colours");
    assert_eq!(event["objectRef"]["namespace"], "test");
    assert_eq!(event["responseStatus"]["code"], 201);
    assert_eq!(event["requestObject"]["data"]["first"], "red");
    assert_eq!(event["responseObject"]["data"]["first"], "red");
    assert_eq!(
        event["responseObject"]["metadata"]["managedFields"],
        Value::Null
    );
    assert_eq!(
        event["annotations"]["authorization.k8s.io/decision"],
        "allow"
    );
    assert!(
        event["userAgent"]
            .as_str()
            .is_some_and(|it| it.starts_with("kubectl"))
    );
    let received = found(&log, |it| {
        is_of(it, "create", "configmaps", "RequestReceived")
    });
    assert_eq!(received[0]["auditID"], event["auditID"]);
    assert_eq!(received[0]["responseStatus"], Value::Null);

    let forbidden = found(&log, |it| it["responseStatus"]["code"] == 403);
    assert_eq!(forbidden[0]["user"]["username"], "galleria:read-only");
    assert_eq!(
        forbidden[0]["annotations"]["authorization.k8s.io/decision"],
        "forbid"
    );
    assert_eq!(forbidden[0]["responseStatus"]["reason"], "Forbidden");

    let secrets = found(&log, |it| it["objectRef"]["resource"] == "secrets");
    assert!(secrets.len() >= 6, "{secrets:?}");
    for event in &secrets {
        assert_eq!(event["level"], "Metadata");
        assert_eq!(event["requestObject"], Value::Null);
        assert_eq!(event["responseObject"], Value::Null);
    }
    let text = std::fs::read_to_string(&log).expect("the log");
    for needle in NEEDLES {
        assert!(!text.contains(needle), "{needle} is in the audit log");
    }
    assert!(!text.contains("\"events\""), "level None");
    assert!(!text.contains("/openapi"), "level None");
}

#[test]
fn watches_are_logged_when_they_begin_and_end_and_wrong_tokens_when_they_fail() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("audit.log");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
                  rules: [{level: Metadata}]\n";
    let host = start(folder.path(), policy, log.to_str().expect("text"));
    let path = "/api/v1/namespaces/test/services?watch=true&timeoutSeconds=1";
    kubectl(&host, &["get", "--raw", path]);
    let ended = found(&log, |it| {
        is_of(it, "watch", "services", "ResponseComplete")
    });
    let started = found(&log, |it| is_of(it, "watch", "services", "ResponseStarted"));
    assert_eq!(started[0]["auditID"], ended[0]["auditID"]);
    assert!(started[0]["stageTimestamp"].as_str() < ended[0]["stageTimestamp"].as_str());

    let config = kubeconfig(&host, &[]);
    let get = ["get", "pods", "-n", "test"];
    let text = std::fs::read_to_string(&config).expect("a kubeconfig");
    let token = std::fs::read_to_string(host.data.join("admin/token")).expect("a token");
    let token = token.trim();
    assert!(text.contains(token), "{text}");
    let with_wrong = folder.path().join("wrong");
    std::fs::write(&with_wrong, text.replace(token, "wrong")).expect("a file");
    let refused = kubectl_with(&host, with_wrong.to_str().expect("text"), &get);
    assert_eq!(refused.code, Some(1));
    let failed = found(&log, |it| it["responseStatus"]["code"] == 401);
    assert_eq!(failed[0]["user"]["username"], "system:anonymous");
    assert_eq!(failed[0]["stage"], "ResponseStarted");
    let log = std::fs::read_to_string(&log).expect("the log");
    assert!(!log.contains("RequestReceived"), "an omitted stage");
    assert!(!log.contains(token), "a token");
}

#[test]
fn log_goes_to_standard_output_too_and_a_full_disk_delays_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    let host = start(folder.path(), policy, "-");
    kubectl(&host, &["get", "nodes"]);
    eventually("the events are printed", || {
        let events = events(&host.stdout());
        let is_list = |it: &Value| is_of(it, "list", "nodes", "ResponseComplete");
        events.iter().any(is_list).then_some(())
    });
    drop(host);

    // Every write to this device fails as on a full disk.
    let host = start(folder.path(), policy, "/dev/full");
    for _ in 0..3 {
        kubectl(&host, &["get", "nodes"]);
    }
    eventually("lost events are counted", || {
        (host.metric("galleria_audit_events_dropped_total", &[]) > 0.0).then_some(())
    });
}

#[test]
fn malformed_policy_stops_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifests(&[Service::new("hello", "hello")])).expect("a file");
    let policy = folder.path().join("policy.txt");
    let kind = "apiVersion: audit.k8s.io/v1\nkind: Policy\n";
    std::fs::write(&policy, format!("{kind}rules: [{{level: Everything}}]\n")).expect("a file");
    let policy = policy.to_str().expect("text");
    let both = ["--audit-policy-file", policy, "--audit-log-path", "-"];
    let failed = Galleria::run(&file).arguments(&both).fail();
    assert_eq!(failed.code, Some(1));
    assert!(
        failed.stderr.contains("unknown variant `Everything`"),
        "{}",
        failed.stderr
    );
    let failed = Galleria::run(&file).arguments(&both[..2]).fail();
    assert_eq!(failed.code, Some(2), "one flag needs the other");
}
