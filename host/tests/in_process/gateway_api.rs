//! The Gateway API: a portal whose manifests use no Istio resources.

use super::testing::{Host, eventually};

/// A Deployment that runs the guest `image`, and its Service.
fn service(namespace: &str, name: &str, image: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: main
          image: {image}
          ports: [{{containerPort: 8080}}]
          env: [{{name: VERSION, value: {name}}}]
"
    )
}

const GATEWAY: &str = "apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: reviews}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gateway, namespace: shop}
spec:
  gatewayClassName: galleria
  listeners: [{name: http, port: 80, protocol: HTTP, hostname: '*.shop.example'}]
";

fn route(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: {namespace}}}
spec:
{spec}"
    )
}

async fn started(manifests: &[String]) -> Host {
    Host::start(&(GATEWAY.to_owned() + &manifests.concat())).await
}

const HOST: (&str, &str) = ("host", "eu.shop.example");

#[tokio::test(flavor = "multi_thread")]
async fn routes_split_rewrite_redirect_and_mirror_at_the_edge() {
    let host = started(&[
        service("shop", "stable", "env"),
        service("shop", "canary", "env"),
        service("shop", "echo", "echo"),
        route(
            "shop",
            "portal",
            "  parentRefs: [{name: gateway}]
  hostnames: [eu.shop.example]
  rules:
    - name: split
      matches: [{path: {value: /split}}]
      backendRefs: [{name: stable, port: 80, weight: 1}, {name: canary, port: 80, weight: 1}]
    - name: beta
      matches: [{path: {value: /split}, headers: [{name: x-beta, value: 'yes'}]}]
      backendRefs: [{name: canary, port: 80}]
    - name: rewritten
      matches: [{path: {value: /api}}]
      filters:
        - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /v1}}}
        - {type: RequestMirror, requestMirror: {backendRef: {name: stable, port: 80}}}
        - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-route, value: portal}]}}
      backendRefs: [{name: echo, port: 80}]
    - name: moved
      matches: [{path: {type: Exact, value: /old}}]
      filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}]
    - name: broken
      matches: [{path: {value: /broken}}]
      backendRefs: [{name: nobody, port: 80}]
",
        ),
    ])
    .await;
    let version = async |headers: &[(&str, &str)]| {
        let answer = host.get_with("/split", headers).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["VERSION"].as_str().expect("it").to_owned()
    };
    let mut versions = Vec::new();
    for _ in 0..64 {
        versions.push(version(&[HOST]).await);
    }
    for service in ["stable", "canary"] {
        assert!(
            versions.iter().any(|version| version == service),
            "{service}"
        );
    }
    assert_eq!(version(&[HOST, ("x-beta", "yes")]).await, "canary");
    let answer = host.get_with("/api/items?page=2", &[HOST]).await;
    assert!(answer.body.contains("/v1/items?page=2"), "{}", answer.body);
    assert_eq!(answer.header("x-route"), "portal");
    host.call("the copy", |call| {
        call["route_name"] == "mirror" && call["destination_workload"] == "shop/stable"
    })
    .await;
    let moved = host.get_with("/old", &[HOST]).await;
    assert_eq!(moved.status, 302);
    assert!(
        moved.header("location").ends_with("/new"),
        "{:?}",
        moved.headers
    );
    assert_eq!(host.get_with("/broken", &[HOST]).await.status, 500);
    let call = host
        .call("the refusal", |call| call["path"] == "/broken")
        .await;
    assert_eq!(call["response_flags"], "NC");
    assert_eq!(
        host.get_with("/split", &[("host", "other.example")])
            .await
            .status,
        404
    );
    let canary = ["destination_workload=\"canary\"", "reporter=\"source\""];
    eventually("the canary's requests are counted", async || {
        (host.metric("istio_requests_total", &canary).await >= 2.0).then_some(())
    })
    .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn service_routes_apply_to_calls_between_guests_and_cross_namespaces_with_a_grant() {
    let to_reviews = route(
        "shop",
        "edge",
        "  parentRefs: [{name: gateway}]
  rules:
    - matches: [{path: {value: /direct}}]
      backendRefs: [{name: new, namespace: reviews, port: 80}]
    - backendRefs: [{name: caller, port: 80}]
",
    );
    let of_service = route(
        "reviews",
        "producer",
        "  parentRefs: [{group: '', kind: Service, name: old}]
  rules: [{backendRefs: [{name: new, port: 80}]}]
",
    );
    let grant = "---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: shop, namespace: reviews}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: '', kind: Service, name: new}]
";
    let services = [
        service("shop", "caller", "call"),
        service("reviews", "old", "env"),
        service("reviews", "new", "env"),
    ]
    .concat();
    let host = started(&[services.clone(), to_reviews.clone(), of_service.clone()]).await;
    let called = host.get_with("/?url=http://old.reviews/", &[HOST]).await;
    assert_eq!(called.header("x-upstream-status"), "200");
    assert_eq!(called.json()["VERSION"], "new");
    assert_eq!(host.get_with("/direct", &[HOST]).await.status, 500);

    let granted = GATEWAY.to_owned() + &services + &to_reviews + &of_service + grant;
    host.apply(&granted).await;
    assert_eq!(host.get_with("/direct", &[HOST]).await.status, 200);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_report_what_is_in_effect() {
    let host = started(&[
        service("shop", "stable", "env"),
        route(
            "shop",
            "attached",
            "  parentRefs: [{name: gateway, sectionName: http}]
  rules: [{backendRefs: [{name: stable, port: 80}]}]
",
        ),
        route(
            "shop",
            "astray",
            "  parentRefs: [{name: nowhere}]
  rules: [{backendRefs: [{name: nobody, port: 80}]}]
",
        ),
    ])
    .await;
    let condition = |conditions: &serde_json::Value, name: &str| {
        let all = conditions.as_array().expect("conditions").iter();
        let found = all.clone().find(|it| it["type"] == name).expect(name);
        assert!(found["lastTransitionTime"].is_string(), "{found}");
        assert_eq!(found["observedGeneration"], 1, "{found}");
        (found["status"] == "True", found["reason"].clone())
    };
    let status = host.object("Gateway", "gateway")["status"].clone();
    assert!(condition(&status["conditions"], "Programmed").0);
    assert_eq!(status["listeners"][0]["attachedRoutes"], 1, "{status}");
    let parent = |name: &str| host.object("HTTPRoute", name)["status"]["parents"][0].clone();
    let attached = parent("attached")["conditions"].clone();
    assert!(condition(&attached, "Accepted").0 && condition(&attached, "ResolvedRefs").0);
    let astray = parent("astray")["conditions"].clone();
    assert_eq!(
        condition(&astray, "Accepted"),
        (false, "NoMatchingParent".into())
    );
    assert_eq!(
        condition(&astray, "ResolvedRefs"),
        (false, "BackendNotFound".into())
    );
    host.stop().await;
}
