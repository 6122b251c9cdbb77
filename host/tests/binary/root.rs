//! The root of a container: writable, private, empty at each start, and bounded.

use serde_json::{Value, json};

use crate::support::{Galleria, Host, Service, eventually, manifests, shop_components};

/// A host with the guests `app` and `other`. `pod` is inserted into the container of `app`.
fn start(pod: &str) -> Host {
    start_with_limits(pod, "memory: 64Mi")
}

/// As [`start`], with the limits of the container of `app`.
fn start_with_limits(pod: &str, limits: &str) -> Host {
    let instance =
        |name| Service::new(name, "files").annotation("galleria.dev/isolation", "instance");
    let yaml = manifests(&[instance("app"), instance("other")]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yaml");
    let yaml = yaml.replacen("          env: []\n", pod, 1);
    let yaml = yaml.replacen("memory: 64Mi", limits, 1);
    std::fs::write(&file, yaml).expect("a file");
    Galleria::run(file)
        .argument("--restart-backoff-initial=100ms")
        .start()
}

fn ask(host: &Host, query: &str) -> Value {
    host.get(&format!("/{query}")).json()
}

#[test]
fn root_is_writable_and_invisible_to_other_pods() {
    let host = start(
        "          workingDir: /srv/app
          volumeMounts: [{name: scratch, mountPath: /data/scratch}]
      volumes: [{name: scratch, emptyDir: {}}]
",
    );
    for path in ["/note", "/tmp/note", "/data/note", "/srv/app/note", "note"] {
        let written = ask(&host, &format!("app/write?path={path}&text=kept"));
        assert_eq!(written, json!({}), "{path}");
        let read = ask(&host, &format!("app/read?path={path}"));
        assert_eq!(read, json!({"text": "kept"}), "{path}");
    }
    let names = |query: &str| ask(&host, query)["names"].clone();
    assert_eq!(
        names("app/list?path=/"),
        json!(["data", "note", "srv", "tmp"])
    );
    assert_eq!(names("app/list?path=/srv/app"), json!(["note"]));
    assert_eq!(names("other/list?path=/"), json!(["data", "tmp"]));
    assert_eq!(names("other/list?path=/tmp"), json!([]));
    // A mount lies over the root, and nothing leads out of it.
    assert_eq!(names("app/list?path=/data"), json!(["note", "scratch"]));
    assert_eq!(
        ask(&host, "app/write?path=/data/scratch/a&text=b"),
        json!({})
    );
    assert_eq!(names("app/list?path=/data/scratch"), json!(["a"]));
    assert_eq!(host.get("/app/read?path=/../../etc/hostname").status, 500);
    assert_eq!(
        ask(&host, "app/link?path=/tmp/out&text=/etc"),
        json!({"error": "entity not found"})
    );
}

#[test]
fn root_ends_with_its_container_and_counts_as_ephemeral_storage() {
    let host = start_with_limits("", "memory: 64Mi, ephemeral-storage: 4Mi");
    assert_eq!(ask(&host, "app/write?path=/tmp/note&text=kept"), json!({}));
    let refused = host.get("/app/fill?path=/tmp/large&mib=6");
    assert_eq!(refused.status, 500, "{}", refused.body);
    let names = eventually("the pod is evicted and starts again", || {
        let answer = host.get("/app/list?path=/tmp");
        (answer.status == 200)
            .then(|| answer.json()["names"].clone())
            .filter(|it| *it == json!([]))
    });
    assert_eq!(names, json!([]));
    let pods = host.objects("Pod");
    let pod = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["app"] == "app")
        .expect("a pod");
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["reason"], "Evicted", "{pod}");
    assert!(
        last["message"]
            .as_str()
            .is_some_and(|it| it.contains("ephemeral-storage")),
        "{last}"
    );
}

#[test]
fn root_without_limits_is_bounded_and_a_read_only_one_is_absent() {
    let host = start("");
    assert_eq!(ask(&host, "app/extend?path=/tmp/half&mib=600"), json!({}));
    assert_eq!(host.get("/app/extend?path=/tmp/rest&mib=600").status, 500);
    assert_eq!(ask(&host, "app/remove?path=/tmp/half"), json!({}));
    assert_eq!(ask(&host, "app/extend?path=/tmp/rest&mib=600"), json!({}));

    let host = start("          securityContext: {readOnlyRootFilesystem: true}\n");
    assert_eq!(host.get("/app/write?path=/tmp/note&text=kept").status, 500);
    assert_eq!(host.get("/app/list?path=/").status, 500);
    assert_eq!(
        ask(&host, "other/write?path=/tmp/note&text=kept"),
        json!({})
    );
}

/// The workshop's manifests as they are, with the Services and the Deployment of product that
/// they leave out. The ui is missing, so only its route fails.
#[test]
fn shop_of_the_workshop_keeps_its_data_in_its_roots() {
    let folder = tempfile::tempdir().expect("a folder");
    let (yaml, images) = (folder.path().join("yaml"), folder.path().join("images"));
    for folder in [&yaml, &images] {
        std::fs::create_dir(folder).expect("a folder");
    }
    let deck = concat!(env!("CARGO_MANIFEST_DIR"), "/manifest/tests/deck");
    for name in [
        "deployment-productreview",
        "secret-productreview",
        "gateway-shoppingportal",
        "namespace-shoppingportal",
        "virtualservice-shoppingportal",
        "destinationrule-product",
    ] {
        let name = format!("{name}.yaml");
        std::fs::copy(format!("{deck}/{name}"), yaml.join(&name)).expect("a file of the deck");
    }
    std::fs::write(yaml.join("rest.yaml"), REST).expect("a file");
    for (image, component) in [("productreviewms", "review"), ("productms", "product")] {
        let component = shop_components().join(component).join("v1.wasm");
        std::fs::copy(component, images.join(format!("{image}.wasm"))).expect("a component");
    }
    let host = Galleria::run(&yaml).components(&images).start();
    let reviews = "/productreviewms/productreview/1";
    eventually("the reviews are there", || {
        (host.get(reviews).status == 200).then_some(())
    });
    let catalogue = host.get("/productms/product/catalogue/1").json();
    let reviews = catalogue["response"]["reviews"].as_array();
    assert!(reviews.is_some_and(|it| !it.is_empty()), "{catalogue}");
    assert_eq!(host.get("/ui").status, 503);
    host.call("the ui has no cluster", |call| {
        call["response_flags"] == "NC"
    });
}

const REST: &str = "
apiVersion: v1
kind: Service
metadata: {name: productreviewservice, namespace: shoppingportal}
spec: {selector: {name: productreview}, ports: [{name: http, port: 80, targetPort: 8082}]}
---
apiVersion: v1
kind: Service
metadata: {name: productservice, namespace: shoppingportal}
spec: {selector: {name: product}, ports: [{name: http, port: 80, targetPort: 8081}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: product-deploy, namespace: shoppingportal}
spec:
  selector: {matchLabels: {name: product}}
  template:
    metadata: {labels: {name: product, version: v1}}
    spec:
      containers:
        - {name: product-ctr, image: metamagicglobal/productms, ports: [{containerPort: 8081}]}
";
