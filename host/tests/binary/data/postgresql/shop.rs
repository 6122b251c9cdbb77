//! The shop with its data on a server that is killed and restarted.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Galleria, Host, Postgresql, eventually, shop_components};

/// The shop's manifests with their databases on `server`, and one run of the job.
fn shop_on(server: &Postgresql, folder: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/shop");
    for entry in std::fs::read_dir(source).expect("the shop") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_owned();
        let text = std::fs::read_to_string(&path).expect("a manifest");
        let text = text
            .replace("sqlite:/data/products.db", &server.url("products"))
            .replace("sqlite:/data/reviews.db", &server.url("reviews"))
            .replace("periodSeconds: 5", "periodSeconds: 1");
        std::fs::write(folder.join(name), text).expect("a manifest");
    }
    let job = "---
apiVersion: batch/v1
kind: Job
metadata: {name: ratings-now, namespace: shoppingportal}
spec:
  template:
    spec:
      restartPolicy: OnFailure
      containers:
        - name: ratings
          image: galleria/ratings:v1
          envFrom: [{secretRef: {name: shop-databases}}]
";
    let extra = server.service_entry("shoppingportal") + job;
    std::fs::write(folder.join("90-extra.yaml"), extra).expect("a manifest");
}

/// The names of the products that were stored.
fn store_until_it_fails(host: &Host) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let name = format!("product {}", names.len());
        let product = json!({"category": "6", "name": name, "description": "", "price": 1});
        if host.post("/productms/product/", &product).status != 201 {
            return names;
        }
        names.push(name);
    }
}

fn names(host: &Host) -> Vec<String> {
    let answer = host.get("/productms/product/catalogue").json();
    let products = answer["response"].as_array().expect("products").iter();
    let name = |product: &Value| product["name"].as_str().expect("a name").to_owned();
    products.map(name).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, step by step")]
fn shop_on_postgresql_loses_no_acknowledged_write_when_the_server_is_killed() {
    let mut server = Postgresql::start();
    server.ask("create database products");
    server.ask("create database reviews");
    let folder = tempfile::tempdir().expect("a folder");
    shop_on(&server, folder.path());
    let begin = || {
        Galleria::run(folder.path())
            .components(shop_components())
            .start()
    };
    // Both hosts find empty databases and create the tables at the same time.
    let (host, other) = std::thread::scope(|scope| {
        let other = scope.spawn(begin);
        (begin(), other.join().expect("a host"))
    });
    let ready = |host: &Host| {
        let is_ready = |workload| host.metric("galleria_pod_ready", &[workload]) == 1.0;
        is_ready("workload=\"productms-v1\"") && is_ready("workload=\"productreviewms-v1\"")
    };
    for host in [&host, &other] {
        eventually("the shop is ready", || ready(host).then_some(()));
    }
    assert_eq!(names(&host).len(), 12);

    // Rows that one host stores are visible on the other.
    let lamp = json!({"category": "6", "name": "Café lamp", "description": "", "price": 0.29});
    let stored = host.post("/productms/product/", &lamp);
    assert_eq!(stored.status, 201, "{}", stored.body);
    assert_eq!(stored.json()["response"]["productId"], 13);
    let review = json!({"author": "Asha", "desc": "Warm.", "rating": 9});
    assert_eq!(
        other
            .post("/productreviewms/productreview/13", &review)
            .status,
        201
    );
    let page = host.get("/productms/product/catalogue/13").json();
    assert_eq!(page["response"]["reviews"][0]["author"], "Asha");
    let search = other.get_with(
        "/productms/product/catalogue?search=CAF&sort=-name",
        &[("end-user", "metamagic")],
    );
    assert!(
        search.body.contains("Café lamp") && search.body.contains("0.29"),
        "{}",
        search.body
    );
    eventually("the job has computed the ratings", || {
        let answer = host.get("/productreviewms/productreview/ratings").json();
        (!answer["ratings"].as_array()?.is_empty()).then_some(())
    });

    // A client stores products until the server is killed.
    let acknowledged = std::thread::scope(|scope| {
        let storing = scope.spawn(|| store_until_it_fails(&other));
        eventually("some are stored", || {
            (names(&host).len() > 16).then_some(())
        });
        server.kill();
        storing.join().expect("names")
    });
    let failed = eventually("requests fail with a clear error", || {
        let answer = host.get("/productms/product/catalogue");
        (answer.status == 503).then_some(answer)
    });
    assert!(!Postgresql::shows_password(&failed.body), "{}", failed.body);
    eventually("readiness follows", || {
        let gone =
            |host: &Host| host.metric("galleria_pod_ready", &["workload=\"productms-v1\""]) == 0.0;
        (gone(&host) && gone(&other)).then_some(())
    });

    server.revive();
    for host in [&host, &other] {
        eventually("the shop is ready again", || ready(host).then_some(()));
        let found = names(host);
        for name in acknowledged.iter().chain(["Café lamp".to_owned()].iter()) {
            assert!(found.contains(name), "{name} was lost");
        }
    }
    assert_eq!(host.post("/productms/product/", &lamp).status, 201);
    for host in [&host, &other] {
        let logs = host.stdout() + &host.stderr() + &host.status("/metrics").body;
        assert!(
            !Postgresql::shows_password(&logs),
            "a log shows the password"
        );
        assert_eq!(
            host.metric(
                "galleria_pod_restarts_total",
                &["workload=\"productms-v1\""]
            ),
            0.0
        );
    }
}
