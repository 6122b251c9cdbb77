//! Runs the pods of the overlays.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Container, eventually, smoke};

use super::played::Namespace;
use super::rendered::{authority, overlay, restoring, secrets};

/// The objects of an overlay, with generated Secrets.
fn namespace(name: &str) -> Namespace {
    let folder = tempfile::tempdir().expect("a folder");
    let mut objects = overlay(name);
    objects.extend(secrets(folder.path()));
    objects.extend(authority(folder.path()));
    objects.extend(restoring());
    Namespace::of(objects)
}

/// Waits until a pod has completed successfully; returns its output.
fn ended(container: &Container) -> String {
    eventually("the pod ends", || {
        (container.inspect("{{.State.Status}}") == "exited").then_some(())
    });
    let code = container.inspect("{{.State.ExitCode}}");
    assert_eq!(code, "0", "{}", container.logs());
    container.logs()
}

#[test]
fn one_roof_pod_serves_the_shop_and_a_backup_restores_its_data() {
    let mut namespace = namespace("one-roof");
    let database = namespace.play("StatefulSet", "postgresql", "postgresql");
    let portal = namespace.play("Deployment", "galleria", "galleria").ready();
    let status = portal.proc("status");
    for said in ["Uid:\t65532", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(said), "{said}\n{status}");
    }
    assert_eq!(portal.inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
    smoke(portal.gateway(), 20);

    let lamp = json!({"category": "6", "name": "Lamp", "description": "", "price": 1});
    let stored = portal.post("/productms/product/", &lamp.to_string());
    assert_eq!(stored.status, 201, "{}", stored.body);
    let id = stored.json()["response"]["productId"].to_string();
    let path = format!("/productms/product/catalogue/{id}");
    let backup = namespace.play("CronJob", "postgresql-backup", "backup");
    let said = ended(&backup);
    assert!(
        said.contains("/backup/products-") || said.contains(" products-"),
        "{said}"
    );

    let of_lamp = format!("delete from product where id = {id}");
    let psql = ["psql", "-U", "postgres", "-d", "products", "-c", &of_lamp];
    assert_eq!(database.exec(psql).trim(), "DELETE 1");
    assert_eq!(portal.get(&path).status, 404);
    let restored = namespace.play("Job", "postgresql-restore", "restore");
    ended(&restored);
    let back = portal.get(&path);
    assert_eq!(back.status, 200, "{}", back.body);
    assert_eq!(back.json()["response"]["name"], "Lamp");
    assert_eq!(portal.stop(), "0", "{}", portal.logs());
}

#[test]
fn per_service_pods_serve_the_shop_together() {
    let mut namespace = namespace("per-service");
    let _database = namespace.play("StatefulSet", "postgresql", "postgresql");
    let workloads = namespace.workloads("Deployment");
    assert!(workloads.len() > 6, "{workloads:?}");
    let hosts: BTreeMap<_, _> = workloads
        .into_iter()
        .map(|name| {
            let host_name = format!("{name}.shoppingportal.svc.cluster.local");
            let host = namespace.play("Deployment", &name, &host_name);
            (name, host)
        })
        .collect();
    let gateway = &hosts["galleria"];
    let page = eventually("the storefront's page", || {
        let page = gateway.get("/ui/product/1");
        (page.status == 200).then_some(page)
    });
    assert!(page.body.contains("Storefront v1"), "{}", page.body);
    for workload in ["ui-v1", "productms-v1"] {
        eventually("its line", || {
            let calls = hosts[workload].calls();
            let served = |call: &Value| call["response_code"] == 200;
            calls.iter().any(served).then_some(())
        });
    }
    assert!(
        gateway
            .calls()
            .iter()
            .any(|it| it["path"] == "/ui/product/1")
    );
}
