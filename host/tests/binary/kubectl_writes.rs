//! Writes to the admin API with the real kubectl.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{
    Galleria, Host, Service, eventually, kubeconfig, kubectl, kubectl_fed, kubectl_with, manifests,
    refused, refused_fed, shop_components,
};

/// A host without manifests.
fn empty() -> Galleria {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-manifests");
    std::fs::create_dir_all(&folder).expect("a folder");
    Galleria::run(folder)
}

/// A host with two Deployments that kubectl applied.
fn applied() -> Host {
    let host = empty().start();
    let services = [
        Service::new("good", "hello").replicas(2),
        Service::new("other", "hello"),
    ];
    kubectl_fed(&host, &["apply"], &manifests(&services));
    in_test(&host, &["rollout", "status", "deploy/good"]);
    in_test(&host, &["rollout", "status", "deploy/other"]);
    host
}

#[track_caller]
fn in_test(host: &Host, arguments: &[&str]) -> String {
    kubectl(host, &[arguments, &["-n", "test"]].concat())
}

#[track_caller]
fn json(host: &Host, arguments: &[&str]) -> Value {
    let text = in_test(host, &[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

fn shop_manifests() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    folder.display().to_string()
}

#[test]
fn shop_applied_to_an_empty_host_is_served() {
    let host = empty().components(shop_components()).start();
    let folder = shop_manifests();
    let created = kubectl(&host, &["apply", "-f", &folder]);
    assert!(
        created.lines().all(|line| line.ends_with(" created")),
        "{created}"
    );
    let wait = ["wait", "--for=condition=Available", "deploy", "--all"];
    kubectl(
        &host,
        &[&wait[..], &["-n", "shoppingportal", "--timeout=60s"]].concat(),
    );
    let page = eventually("the shop serves", || {
        host.try_get("/ui", &[])
            .ok()
            .filter(|answer| answer.status == 200)
    });
    assert!(page.body.contains("<html"), "{}", page.body);
    let again = kubectl(&host, &["apply", "-f", &folder]);
    // A Secret's `stringData` is not returned by the API, so kubectl sends it again.
    let same = |line: &str| line.ends_with(" unchanged") || line.starts_with("secret/");
    assert!(again.lines().all(same), "{again}");
    assert_eq!(kubectl(&host, &["diff", "-f", &folder]), "");
    kubectl(&host, &["delete", "namespace", "shoppingportal"]);
    let left = kubectl(&host, &["get", "all,vs,cm", "-n", "shoppingportal"]);
    assert_eq!(left, "");
    eventually("nothing listens", || {
        let listeners = host.report()["listeners"].clone();
        (listeners == serde_json::json!([])).then_some(())
    });
}

#[test]
fn deployment_is_managed_as_on_a_cluster() {
    let host = applied();
    let replicas = || json(&host, &["get", "deploy", "good"])["status"]["readyReplicas"].clone();
    in_test(&host, &["scale", "deploy/good", "--replicas=3"]);
    in_test(&host, &["rollout", "status", "deploy/good"]);
    assert_eq!(replicas(), 3);
    assert_eq!(host.get("/good/").body, "hello\n");

    in_test(&host, &["set", "image", "deploy/good", "main=echo"]);
    in_test(&host, &["rollout", "status", "deploy/good"]);
    assert_ne!(host.get("/good/").body, "hello\n");
    let history = in_test(&host, &["rollout", "history", "deploy/good"]);
    assert_eq!(
        history
            .lines()
            .filter(|line| line.contains("<none>"))
            .count(),
        2,
        "{history}"
    );
    in_test(&host, &["rollout", "undo", "deploy/good"]);
    in_test(&host, &["rollout", "status", "deploy/good"]);
    assert_eq!(host.get("/good/").body, "hello\n");

    let pods = || in_test(&host, &["get", "pods", "-l", "app=good", "-o", "name"]);
    let before = pods();
    in_test(&host, &["rollout", "restart", "deploy/good"]);
    in_test(&host, &["rollout", "status", "deploy/good"]);
    let after = pods();
    assert_eq!(after.lines().count(), 3);
    assert!(
        after.lines().all(|pod| !before.contains(pod)),
        "{before} {after}"
    );

    in_test(&host, &["rollout", "pause", "deploy/good"]);
    in_test(&host, &["set", "env", "deploy/good", "A=b"]);
    let paused = json(&host, &["get", "deploy", "good"]);
    assert_eq!(paused["spec"]["paused"], true);
    assert_eq!(pods(), after);
    in_test(&host, &["rollout", "resume", "deploy/good"]);
    in_test(&host, &["rollout", "status", "deploy/good"]);
    assert!(pods().lines().all(|pod| !after.contains(pod)));

    let pod = pods().lines().next().expect("a pod").to_owned();
    in_test(&host, &["delete", &pod]);
    eventually("another pod replaces it", || {
        (replicas() == 3 && !pods().contains(&pod)).then_some(())
    });
}

#[test]
fn objects_are_changed_by_every_kind_of_patch() {
    let host = applied();
    let label =
        |name: &str| json(&host, &["get", "deploy", "good"])["metadata"]["labels"][name].clone();
    in_test(&host, &["label", "deploy", "good", "tier=front"]);
    assert_eq!(label("tier"), "front");
    in_test(
        &host,
        &[
            "patch",
            "deploy",
            "good",
            "-p",
            r#"{"metadata":{"labels":{"by":"strategic"}}}"#,
        ],
    );
    assert_eq!(label("by"), "strategic");
    let merge = r#"{"metadata":{"labels":{"by":"merge","tier":null}}}"#;
    in_test(
        &host,
        &["patch", "deploy", "good", "--type=merge", "-p", merge],
    );
    assert_eq!((label("by"), label("tier")), ("merge".into(), Value::Null));
    let operations = r#"[{"op":"replace","path":"/metadata/labels/by","value":"json"}]"#;
    in_test(
        &host,
        &["patch", "deploy", "good", "--type=json", "-p", operations],
    );
    assert_eq!(label("by"), "json");
    // A change of only metadata starts no rollout.
    assert_eq!(
        json(&host, &["get", "deploy", "good"])["metadata"]["generation"],
        1
    );

    // The patch names one container of a pod: the other containers and the other fields
    // do not change.
    let image = r#"{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"echo"}]}}}}"#;
    in_test(&host, &["patch", "deploy", "good", "-p", image]);
    let container =
        &json(&host, &["get", "deploy", "good"])["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "echo");
    assert_eq!(container["ports"][0]["containerPort"], 8080);

    let editor = host.data.join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/by: json/by: hand/' \"$1\"\n").expect("a file");
    let editor = format!("sh {}", editor.display());
    let edit = std::process::Command::new("kubectl")
        .env("KUBECONFIG", kubeconfig(&host, &[]))
        .env("HOME", &host.data)
        .env("KUBE_EDITOR", editor)
        .args(["edit", "deploy", "good", "-n", "test"])
        .output()
        .expect("kubectl");
    assert!(edit.status.success(), "{edit:?}");
    assert_eq!(label("by"), "hand");

    let before = json(&host, &["get", "deploy", "good"]);
    in_test(
        &host,
        &["label", "deploy", "good", "tier=back", "--dry-run=server"],
    );
    assert_eq!(json(&host, &["get", "deploy", "good"]), before);
    in_test(&host, &["delete", "deploy", "good", "--dry-run=server"]);
    assert_eq!(json(&host, &["get", "deploy", "good"]), before);
    in_test(&host, &["delete", "deploy", "good", "--cascade=foreground"]);
    eventually("its pods are removed", || {
        in_test(&host, &["get", "pods", "-l", "app=good", "-o", "name"])
            .is_empty()
            .then_some(())
    });
}

#[test]
fn objects_generated_by_kubectl_are_accepted() {
    let host = empty().start();
    for created in [
        &["namespace", "test"][..],
        &["configmap", "settings", "--from-literal=a=b"],
        &[
            "secret",
            "generic",
            "login",
            "--from-literal=password=open-sesame",
        ],
        &["serviceaccount", "robot"],
        &[
            "deployment",
            "app",
            "--image=hello",
            "--port=8080",
            "--replicas=2",
        ],
        &["service", "clusterip", "app", "--tcp=80:8080"],
        &["job", "once", "--image=job-print"],
        &[
            "cronjob",
            "nightly",
            "--image=job-print",
            "--schedule=0 3 * * *",
        ],
        &["job", "by-hand", "--from=cronjob/nightly"],
        &["ingress", "way-in", "--rule=shop.example/*=app:80"],
        &[
            "poddisruptionbudget",
            "app",
            "--selector=app=app",
            "--min-available=1",
        ],
        &["quota", "pods", "--hard=pods=10"],
    ] {
        in_test(&host, &[&["create"], created].concat());
    }
    in_test(
        &host,
        &["autoscale", "deploy/app", "--max=3", "--cpu-percent=50"],
    );
    in_test(&host, &["wait", "--for=condition=Available", "deploy/app"]);
    in_test(
        &host,
        &[
            "wait",
            "--for=condition=Complete",
            "job/once",
            "job/by-hand",
        ],
    );
    let scaler = json(&host, &["get", "hpa.v2.autoscaling", "app"]);
    assert_eq!(scaler["spec"]["maxReplicas"], 3);
    assert_eq!(
        scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        50
    );
    let value = in_test(
        &host,
        &["get", "secret", "login", "-o", "jsonpath={.data.password}"],
    );
    assert_eq!(value, "b3Blbi1zZXNhbWU=");
    assert!(!host.stderr().contains("open-sesame"));
}

#[test]
fn server_side_apply_reports_conflicting_managers() {
    let host = applied();
    let map = |value: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: map, namespace: test}}\n\
             data: {{color: {value}}}\n"
        )
    };
    let apply = ["apply", "--server-side", "--field-manager"];
    kubectl_fed(&host, &[&apply[..], &["first"]].concat(), &map("red"));
    let conflict = refused_fed(&host, &[&apply[..], &["second"]].concat(), &map("blue"));
    assert!(
        conflict.contains("conflict with \"first\" using v1: .data.color"),
        "{conflict}"
    );
    let color = || json(&host, &["get", "cm", "map"])["data"]["color"].clone();
    assert_eq!(color(), "red");
    let force = [&apply[..], &["second", "--force-conflicts"]].concat();
    kubectl_fed(&host, &force, &map("blue"));
    assert_eq!(color(), "blue");
    // A field that no manager applies any more is removed.
    let nothing = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map, namespace: test}\n";
    kubectl_fed(&host, &[&apply[..], &["second"]].concat(), nothing);
    assert_eq!(color(), Value::Null);
}

#[test]
fn objects_from_the_api_survive_a_restart_of_the_host() {
    let data = tempfile::tempdir().expect("a folder");
    let mut host = empty().data(data.path()).start();
    kubectl_fed(&host, &["apply"], &manifests(&[Service::new("a", "hello")]));
    kubectl(&host, &["create", "configmap", "map", "--from-literal=a=b"]);
    kubectl(
        &host,
        &["create", "configmap", "gone", "--from-literal=a=b"],
    );
    kubectl(&host, &["delete", "configmap", "gone"]);
    let uid = json(&host, &["get", "deploy", "a"])["metadata"]["uid"].clone();
    host.kill();
    let host = empty().data(data.path()).start();
    assert_eq!(host.get("/a/").body, "hello\n");
    assert_eq!(json(&host, &["get", "deploy", "a"])["metadata"]["uid"], uid);
    let maps = kubectl(&host, &["get", "cm", "-o", "name"]);
    assert_eq!(maps, "configmap/map\n");
}

#[test]
fn api_change_of_an_object_from_a_file_is_shown_as_drift() {
    let folder = tempfile::tempdir().expect("a folder");
    let file: PathBuf = folder.path().join("test.yaml");
    let write = |replicas: u32| {
        let service = Service::new("app", "hello").replicas(replicas);
        std::fs::write(&file, manifests(&[service])).expect("a file");
    };
    write(1);
    let host = Galleria::run(folder.path()).start();
    let drift = || {
        json(&host, &["get", "deploy", "app"])["metadata"]["annotations"]["galleria.dev/drift"]
            .clone()
    };
    assert_eq!(drift(), Value::Null);
    in_test(&host, &["scale", "deploy/app", "--replicas=2"]);
    in_test(&host, &["rollout", "status", "deploy/app"]);
    assert!(drift().is_string());
    let page = host.status_page(&[]).stdout;
    assert!(
        page.contains("DRIFT") && page.contains("Deployment"),
        "{page}"
    );
    write(3);
    eventually("the file takes effect again", || {
        let deployment = json(&host, &["get", "deploy", "app"]);
        (deployment["status"]["readyReplicas"] == 3 && drift().is_null()).then_some(())
    });
    assert!(!host.status_page(&[]).stdout.contains("DRIFT"));
}

#[test]
fn object_with_a_missing_reference_waits_for_it() {
    let host = empty().start();
    let whole = manifests(&[Service::new("a", "hello")]);
    let (routes, services): (Vec<_>, Vec<_>) = whole.split("---\n").partition(|document| {
        !document.contains("kind: Service") && !document.contains("kind: Deployment")
    });
    kubectl_fed(&host, &["apply"], &routes.join("---\n"));
    let events = || in_test(&host, &["get", "events", "--field-selector=reason=Waiting"]);
    assert!(events().contains("virtualservice/routes"), "{}", events());
    let page = host.status_page(&[]).stdout;
    assert!(page.contains("there is no Service"), "{page}");
    let condition = || {
        let reconciled = "-o=jsonpath={.status.conditions[?(@.type==\"Reconciled\")].status}";
        in_test(&host, &["get", "virtualservice", "routes", reconciled])
    };
    assert_eq!(condition(), "False");
    assert_eq!(host.get("/a/").status, 503);
    kubectl_fed(&host, &["apply"], &services.join("---\n"));
    in_test(&host, &["rollout", "status", "deploy/a"]);
    assert_eq!(condition(), "True");
    assert_eq!(host.get("/a/").body, "hello\n");
    let problems = host.report()["problems"].to_string();
    assert!(!problems.contains("there is no Service"), "{problems}");

    in_test(&host, &["delete", "service", "a"]);
    assert_eq!(condition(), "False");
    assert_eq!(host.get("/a/").status, 503);
    host.call("a request without a cluster", |call| {
        call["response_flags"] == "NC"
    });
}

#[test]
fn history_of_a_rollout_has_the_causes_of_its_changes() {
    let host = applied();
    let set_image = |image: &str| {
        let change = format!("main={image}");
        in_test(&host, &["set", "image", "deploy/good", &change, "--record"]);
        in_test(&host, &["rollout", "status", "deploy/good"]);
    };
    let cause = |revision: &str| {
        let history = in_test(&host, &["rollout", "history", "deploy/good"]);
        let mut rows = history.lines().filter_map(|line| line.split_once(' '));
        let row = rows.find(|(number, _)| *number == revision);
        row.map(|(_, cause)| cause.trim().to_owned())
    };
    set_image("echo");
    assert_eq!(cause("1").as_deref(), Some("<none>"));
    let of_change = cause("2").expect("a revision");
    assert!(of_change.starts_with("kubectl set image"), "{of_change}");
    // The one that kubectl recorded is replaced.
    let replaced = &[
        "annotate",
        "deploy/good",
        "kubernetes.io/change-cause=later",
        "--overwrite",
    ];
    in_test(&host, replaced);
    assert_eq!(cause("2").as_deref(), Some("later"));
    set_image("hello");
    let of_change = cause("3").expect("a revision");
    assert!(of_change.contains("main=hello"), "{of_change}");
    assert_eq!(cause("2").as_deref(), Some("later"));
}

#[test]
fn missing_destination_in_a_file_fails_its_route_only_unless_strict() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = manifests(&[Service::new("a", "hello"), Service::new("b", "hello")]);
    let is_of_b = |it: &&str| it.contains("kind: Service\nmetadata: {name: b,");
    let kept: Vec<_> = whole.split("---\n").filter(|it| !is_of_b(it)).collect();
    std::fs::write(folder.path().join("test.yaml"), kept.join("---\n")).expect("a file");
    let host = Galleria::run(folder.path()).start();
    assert_eq!(host.get("/a/").body, "hello\n");
    assert_eq!(host.get("/b/").status, 503);
    let events = in_test(&host, &["get", "events", "--field-selector=reason=Waiting"]);
    assert!(events.contains("virtualservice/routes"), "{events}");
    let missing = "there is no Service or ServiceEntry for `b`";
    assert!(host.status_page(&[]).stdout.contains(missing));

    let check = |flags: &[&str]| {
        let command = std::process::Command::new(env!("CARGO_BIN_EXE_galleria"))
            .arg("check")
            .args(flags)
            .arg(folder.path())
            .output();
        let output = command.expect("the binary");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(missing),
            "{output:?}"
        );
        output.status.code()
    };
    assert_eq!(check(&[]), Some(0));
    assert_eq!(check(&["--strict"]), Some(1));
    let refused = Galleria::run(folder.path()).argument("--strict").fail();
    assert!(refused.stderr.contains(missing), "{refused:?}");
}

#[test]
fn invalid_writes_get_the_right_status_and_change_nothing() {
    let host = applied();
    let before = host.report()["objects"].clone();
    let invalid = refused_fed(
        &host,
        &["create", "--validate=false"],
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad, namespace: test}\n\
         spec: {replicas: two, seletor: {}}\n",
    );
    for text in [
        "cannot be handled as a Deployment",
        "spec.replicas: expected an integer",
        "is `seletor` a misspelling of it?",
    ] {
        assert!(invalid.contains(text), "{text} in {invalid}");
    }
    let exists = refused(
        &host,
        &[
            "create",
            "deployment",
            "good",
            "--image=hello",
            "-n",
            "test",
        ],
    );
    assert!(
        exists.contains("deployments.apps \"good\" already exists"),
        "{exists}"
    );
    let nowhere = refused(&host, &["create", "configmap", "a", "-n", "nowhere"]);
    assert!(
        nowhere.contains("namespaces \"nowhere\" not found"),
        "{nowhere}"
    );
    let stale = "apiVersion: v1\nkind: Service\n\
                 metadata: {name: good, namespace: test, resourceVersion: \"1\"}\n\
                 spec: {ports: [{port: 80}]}\n";
    let conflict = refused_fed(&host, &["replace"], stale);
    assert!(
        conflict.contains("the object has been modified"),
        "{conflict}"
    );
    let orphan = refused(
        &host,
        &["delete", "deploy", "good", "-n", "test", "--cascade=orphan"],
    );
    assert!(orphan.contains("--cascade=background"), "{orphan}");
    let set = in_test(&host, &["get", "rs", "-o", "name"]);
    let set = set.lines().next().expect("a ReplicaSet");
    let made = refused(&host, &["delete", set, "-n", "test"]);
    assert!(made.contains("is managed by the host"), "{made}");
    let selector = refused(
        &host,
        &[
            "patch",
            "deploy",
            "good",
            "-n",
            "test",
            "-p",
            r#"{"spec":{"selector":{"matchLabels":{"app":"x"}}}}"#,
        ],
    );
    assert!(selector.contains("selector"), "{selector}");
    let large = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large, namespace: test}}\n\
         data: {{a: \"{}\"}}\n",
        "x".repeat(4 << 20)
    );
    let large = refused_fed(&host, &["create"], &large);
    assert!(large.contains("RequestEntityTooLarge"), "{large}");
    let read_only = kubeconfig(&host, &["--read-only"]);
    let delete = kubectl_with(
        &host,
        &read_only,
        &["delete", "deploy", "good", "-n", "test"],
    );
    assert!(delete.stderr.contains("Forbidden"), "{delete:?}");
    assert_eq!(host.report()["objects"], before);
}
