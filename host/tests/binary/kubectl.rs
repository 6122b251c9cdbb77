//! The admin API, called by the real kubectl.

use serde_json::Value;

use crate::support::{
    Galleria, Host, Service, eventually, kubeconfig, kubectl, kubectl_with, manifests, refused,
};

const SECRET: &str = "---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: test}
stringData: {password: open-sesame}
";

fn run(manifest: &str) -> Host {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    std::fs::write(&file, manifest).expect("a file");
    Galleria::run(file).start()
}

fn shop() -> Host {
    let services = [
        Service::new("good", "hello").replicas(2),
        Service::new("other", "hello"),
    ];
    run(&format!("{}{SECRET}", manifests(&services)))
}

/// The first column of every line except the header.
fn names(table: &str) -> Vec<&str> {
    let lines = table.lines().skip(1);
    lines
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

#[test]
fn get_shows_the_same_as_on_a_cluster() {
    let host = shop();
    let pods = kubectl(&host, &["get", "pods", "-n", "test"]);
    let header: Vec<_> = pods
        .lines()
        .next()
        .expect("a header")
        .split_whitespace()
        .collect();
    assert_eq!(header, ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]);
    assert_eq!(names(&pods).len(), 3, "{pods}");
    assert!(pods.contains("1/1") && pods.contains("Running"), "{pods}");
    let wide = kubectl(&host, &["get", "deploy", "-n", "test", "-o", "wide"]);
    assert_eq!(names(&wide), ["good", "other"]);
    for text in ["UP-TO-DATE", "2/2", "IMAGES", "hello", "app=good"] {
        assert!(wide.contains(text), "{text} in {wide}");
    }
    let all = kubectl(&host, &["get", "all", "-A"]);
    for text in [
        "pod/good-",
        "deployment.apps/good",
        "replicaset.apps/good-",
        "service/other",
    ] {
        assert!(all.contains(text), "{text} in {all}");
    }
    let istio = kubectl(&host, &["get", "vs,gw,secrets,events", "-n", "test"]);
    for text in ["virtualservice", "gateway", "secret/login", "Started"] {
        assert!(istio.contains(text), "{text} in {istio}");
    }
    assert!(!istio.contains("open-sesame"));
}

#[test]
fn get_selects_and_prints_in_every_form() {
    let host = shop();
    let get = |arguments: &[&str]| {
        let all = [&["get", "-n", "test"], arguments].concat();
        kubectl(&host, &all)
    };
    assert_eq!(names(&get(&["pods", "-l", "app=good"])).len(), 2);
    assert_eq!(names(&get(&["pods", "-l", "app in (other)"])).len(), 1);
    let one = get(&[
        "deploy",
        "--field-selector",
        "metadata.name=good",
        "-o",
        "name",
    ]);
    assert_eq!(one, "deployment.apps/good\n");
    let json: Value = serde_json::from_str(&get(&["deploy", "good", "-o", "json"])).expect("JSON");
    assert_eq!(json["apiVersion"], "apps/v1");
    assert_eq!(json["status"]["readyReplicas"], 2);
    assert!(json["metadata"]["uid"].is_string(), "{json}");
    assert!(get(&["deploy", "good", "-o", "yaml"]).contains("kind: Deployment"));
    assert_eq!(
        get(&["deploy", "good", "-o", "jsonpath={.spec.replicas}"]),
        "2"
    );
    let columns = get(&[
        "pods",
        "-o",
        "custom-columns=N:.metadata.name,P:.status.phase",
    ]);
    assert!(columns.contains("Running"), "{columns}");
    let described = kubectl(&host, &["describe", "deployment", "good", "-n", "test"]);
    for text in ["2 desired", "Image:", "hello", "NewReplicaSet"] {
        assert!(described.contains(text), "{text} in {described}");
    }
    let described = kubectl(&host, &["describe", "pods", "-n", "test", "-l", "app=good"]);
    for text in ["Status:", "Running", "Started", "QoS Class:"] {
        assert!(described.contains(text), "{text} in {described}");
    }
}

#[test]
fn unknown_objects_and_invalid_parameters_get_the_right_status() {
    let host = shop();
    let absent = refused(&host, &["get", "pod", "nobody", "-n", "test"]);
    assert_eq!(
        absent.trim(),
        "Error from server (NotFound): pods \"nobody\" not found"
    );
    let kind = refused(&host, &["get", "unicorns"]);
    assert!(
        kind.contains("doesn't have a resource type \"unicorns\""),
        "{kind}"
    );
    let field = refused(
        &host,
        &["get", "pods", "--field-selector", "spec.color=red"],
    );
    assert!(field.contains("field label not supported"), "{field}");
    let selector = refused(&host, &["get", "--raw", "/api/v1/pods?labelSelector=a%20b"]);
    assert!(
        selector.contains("unable to parse requirement"),
        "{selector}"
    );
    let page = refused(&host, &["get", "--raw", "/api/v1/pods?continue=x"]);
    assert!(page.contains("continue key is not valid"), "{page}");
    let old = "/api/v1/pods?watch=1&resourceVersion=1";
    let event: Value = serde_json::from_str(&kubectl(&host, &["get", "--raw", old])).expect("JSON");
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&"ERROR".into(), &410.into())
    );
}

#[test]
fn token_is_required_and_the_read_only_token_cannot_read_secrets() {
    let host = shop();
    let config = kubeconfig(&host, &[]);
    let text = std::fs::read_to_string(&config).expect("the kubeconfig");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let token = json["users"][0]["user"]["token"].as_str().expect("a token");
    let wrong = host.data.join("wrong");
    std::fs::write(&wrong, text.replace(token, "guess")).expect("a file");
    let wrong = wrong.display().to_string();
    let output = kubectl_with(&host, &wrong, &["get", "pods"]);
    assert!(
        output
            .stderr
            .contains("You must be logged in to the server"),
        "{output:?}"
    );
    assert!(!output.stderr.contains("hello") && output.stdout.is_empty());
    let read_only = kubeconfig(&host, &["--read-only"]);
    let look = |arguments: &[&str]| kubectl_with(&host, &read_only, arguments);
    assert_eq!(look(&["get", "pods", "-A"]).code, Some(0));
    let secrets = look(&["get", "secrets", "-n", "test"]);
    assert!(secrets.stderr.contains("Forbidden"), "{secrets:?}");
    let value = "jsonpath={.data.password}";
    let secret = kubectl(
        &host,
        &["get", "secret", "login", "-n", "test", "-o", value],
    );
    assert_eq!(secret, "b3Blbi1zZXNhbWU=");
    assert!(!host.stderr().contains("open-sesame"));
}

#[test]
fn long_lists_come_in_pages() {
    let maps: String = (0..120)
        .map(|number| {
            format!(
                "---\napiVersion: v1\nkind: ConfigMap\n\
                 metadata: {{name: map-{number:03}, namespace: test}}\n"
            )
        })
        .collect();
    let host = run(&format!(
        "{}{maps}",
        manifests(&[Service::new("a", "hello")])
    ));
    let listed = kubectl(
        &host,
        &["get", "cm", "-n", "test", "--chunk-size=25", "-o", "name"],
    );
    assert_eq!(listed.lines().count(), 120);
    let raw = kubectl(
        &host,
        &[
            "get",
            "--raw",
            "/api/v1/namespaces/test/configmaps?limit=25",
        ],
    );
    let page: Value = serde_json::from_str(&raw).expect("JSON");
    assert_eq!(page["items"].as_array().expect("items").len(), 25);
    assert_eq!(page["metadata"]["remainingItemCount"], 95);
    assert!(
        page["metadata"]["continue"].is_string(),
        "{}",
        page["metadata"]
    );
}

#[test]
fn watch_reports_changes_and_objects_that_leave_the_selector() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let write = |label: &str| {
        let service = manifests(&[Service::new("a", "hello")]);
        let map = format!(
            "---\napiVersion: v1\nkind: ConfigMap\n\
             metadata: {{name: map, namespace: test, labels: {{tier: {label}}}}}\n"
        );
        std::fs::write(&file, format!("{service}{map}")).expect("a file");
    };
    write("front");
    let host = Galleria::run(&file).start();
    let config = kubeconfig(&host, &[]);
    let path = "/api/v1/configmaps?watch=true&labelSelector=tier%3Dfront&timeoutSeconds=15";
    let watching = std::thread::scope(|scope| {
        let watching = scope.spawn(|| kubectl_with(&host, &config, &["get", "--raw", path]));
        // The watch starts with the current objects, whenever it starts.
        for label in ["back", "front", "back"] {
            let jsonpath = "jsonpath={.metadata.labels.tier}";
            write(label);
            eventually("the change is in effect", || {
                let get = ["get", "cm", "map", "-n", "test", "-o", jsonpath];
                (kubectl(&host, &get) == label).then_some(())
            });
        }
        watching.join().expect("kubectl")
    });
    let events: Vec<Value> = serde_json::Deserializer::from_str(&watching.stdout)
        .into_iter()
        .collect::<Result<_, _>>()
        .expect("events");
    let kinds: Vec<_> = events
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert!(
        kinds.ends_with(&["ADDED", "DELETED"]),
        "{kinds:?} {watching:?}"
    );
}
