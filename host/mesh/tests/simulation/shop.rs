//! The routing of the shop.

use std::collections::HashMap;

use crate::world::World;

pub(crate) const SHOP: &str = include_str!("shop.yaml");

fn shop() -> World {
    World::new(SHOP)
        .pods(
            "shoppingportal",
            "ui-v1",
            &[("name", "ui"), ("version", "v1")],
            2,
        )
        .pods(
            "shoppingportal",
            "ui-v2",
            &[("name", "ui"), ("version", "v2")],
            1,
        )
        .pods(
            "shoppingportal",
            "product-v1",
            &[("name", "productms"), ("version", "v1")],
            2,
        )
        .pods(
            "shoppingportal",
            "product-v2",
            &[("name", "productms"), ("version", "v2")],
            1,
        )
        .pods(
            "shoppingportal",
            "review",
            &[("name", "productreviewms"), ("version", "v1")],
            1,
        )
}

#[test]
fn firefox_gets_the_canary_and_other_clients_the_stable_storefront() {
    let mut world = shop();
    let firefox = world
        .edge("http://localhost/ui")
        .header(
            "user-agent",
            "Mozilla/5.0 (X11; Linux) Gecko/20100101 Firefox/128.0",
        )
        .send();
    assert_eq!(
        firefox.summary(),
        "outbound|80|canary|k8uiworkshopservice.shoppingportal.svc.cluster.local"
    );
    assert_eq!(firefox.sent().pod(), "shoppingportal/ui-v2-0");
    let other = world
        .edge("http://localhost/ui")
        .header("user-agent", "curl/8")
        .send();
    assert_eq!(
        other.summary(),
        "outbound|80|stable|k8uiworkshopservice.shoppingportal.svc.cluster.local"
    );
    assert!(other.sent().pod().starts_with("shoppingportal/ui-v1-"));
}

#[test]
fn the_beta_user_gets_the_canary_of_the_product_service() {
    let mut world = shop();
    let url = "http://localhost/productms/product/catalogue";
    let beta = world
        .edge(url)
        .header("end-user", "metamagic")
        .send()
        .sent();
    assert_eq!(beta.pod(), "shoppingportal/product-v2-0");
    let other = world.edge(url).header("end-user", "someone").send().sent();
    assert!(other.pod().starts_with("shoppingportal/product-v1-"));
}

#[test]
fn a_path_without_a_rule_is_404_nr() {
    assert_eq!(
        shop().edge("http://localhost/elsewhere").send().summary(),
        "404 NR"
    );
}

#[test]
fn an_undeclared_port_at_the_edge_is_404_nr() {
    assert_eq!(
        shop().edge("http://localhost:9999/ui").send().summary(),
        "404 NR"
    );
}

#[test]
fn services_can_be_called_by_every_form_of_their_name() {
    let mut world = shop();
    let expected = "outbound|80||productservice.shoppingportal.svc.cluster.local";
    for host in [
        "productservice",
        "productservice:80",
        "ProductService",
        "productservice.shoppingportal",
        "productservice.shoppingportal.svc",
        "productservice.shoppingportal.svc.cluster.local",
        "productservice.shoppingportal.svc.cluster.local.",
        "PRODUCTSERVICE.shoppingportal.svc.cluster.local:80",
    ] {
        let url = format!("http://{host}/productms/product/catalogue");
        let answer = world.from("shoppingportal", "ui-v1", &url).send();
        assert_eq!(answer.summary(), expected, "{host}");
    }
}

#[test]
fn from_another_namespace_a_service_needs_a_longer_name() {
    let mut world = shop().pods("other", "client", &[], 1);
    let short = world
        .from("other", "client", "http://productservice/")
        .send()
        .reply();
    assert_eq!(short.status, 502);
    assert!(
        short.details.contains("hosts: [productservice]"),
        "{}",
        short.details
    );
    let longer = world
        .from("other", "client", "http://productservice.shoppingportal/")
        .send();
    assert_eq!(longer.sent().forward.cluster.service_name, "productservice");
}

#[test]
fn a_service_without_a_virtual_service_uses_all_versions() {
    let mut world = shop();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for _ in 0..300 {
        let sent = world
            .from("shoppingportal", "ui-v1", "http://productservice/")
            .send()
            .sent();
        assert!(sent.forward.virtual_service().is_none());
        *seen.entry(sent.pod().to_owned()).or_default() += 1;
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[test]
fn a_missing_port_is_refused_and_the_details_list_the_ports() {
    let reply = shop()
        .from("shoppingportal", "ui-v1", "http://productservice:8080/")
        .send()
        .reply();
    assert_eq!(reply.status, 502);
    assert!(
        reply.details.contains("has no port 8080; its ports: 80"),
        "{}",
        reply.details
    );
}

#[test]
fn no_ready_endpoint_is_503_uh() {
    let mut world = shop();
    world.set_ready("review-0", false);
    let answer = world
        .edge("http://localhost/productreviewms/productreview/1")
        .send();
    assert_eq!(answer.summary(), "503 UH");
    world.set_ready("review-0", true);
    world
        .edge("http://localhost/productreviewms/productreview/1")
        .send()
        .sent();
}

#[test]
fn all_rules_of_the_shop_are_reachable() {
    assert_eq!(shop().diagnostics, Vec::<String>::new());
}

#[test]
fn a_request_in_progress_keeps_its_snapshot() {
    let mut world = shop();
    let sent = world.edge("http://localhost/ui").send().sent();
    world.apply("");
    assert_eq!(world.edge("http://localhost/ui").send().summary(), "404 NR");
    assert_eq!(sent.path(), "/ui");
    assert!(sent.picked.record(&Default::default(), world.now).is_none());
}
