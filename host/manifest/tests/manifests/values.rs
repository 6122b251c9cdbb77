//! What fields become: defaults, both dialects, all apiVersions.

use std::path::Path;
use std::time::Duration;

use galleria_manifest::model::{
    AbortStatus, Deployment, HashKey, Ingress, IntOrPercent, LoadBalancerPolicy, PathType, Percent,
    PortReference, Resource, RestartPolicy, ServiceKind, Strategy, StringMatch, VirtualService,
};
use galleria_manifest::{Severity, read_str};

use super::render;

/// The only object of a text that has no error.
fn resource(text: &str) -> Resource {
    let loaded = read_str(Path::new("text.yaml"), text);
    let errors: Vec<_> = loaded
        .diagnostics
        .into_iter()
        .filter(|d| d.severity == Severity::Error)
        .collect();
    assert!(errors.is_empty(), "{}", render(&errors));
    assert_eq!(loaded.objects.len(), 1);
    loaded.objects[0].resource.clone()
}

fn deployment(api_version: &str, selector: &str, rest: &str) -> Deployment {
    let text = format!(
        "apiVersion: {api_version}\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n{selector}{rest}  \
         template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      containers:\n        \
         - {{name: web, image: 'web:v1'}}\n"
    );
    let Resource::Deployment(deployment) = resource(&text) else {
        panic!("a Deployment")
    };
    deployment
}

const SELECTOR: &str = "  selector: {matchLabels: {app: web}}\n";

#[test]
fn a_deployment_has_kubernetes_defaults() {
    let web = deployment("apps/v1", SELECTOR, "");
    assert_eq!(web.replicas.value, 1);
    assert_eq!(web.progress_deadline, Duration::from_secs(600));
    assert_eq!(web.revision_history_limit, 10);
    let quarter = IntOrPercent::Percent(25);
    assert_eq!(
        web.strategy,
        Strategy::RollingUpdate {
            max_surge: quarter,
            max_unavailable: quarter
        }
    );
    let pod = &web.template.spec;
    assert_eq!(pod.service_account_name.value, "default");
    assert_eq!(pod.termination_grace_period, Duration::from_secs(30));
    assert_eq!(pod.restart_policy, RestartPolicy::Always);
}

#[test]
fn every_api_version_of_a_deployment_is_read() {
    for version in [
        "apps/v1",
        "apps/v1beta2",
        "apps/v1beta1",
        "extensions/v1beta1",
    ] {
        assert_eq!(
            deployment(version, SELECTOR, "  replicas: 3\n")
                .replicas
                .value,
            3
        );
    }
    let oldest = deployment("extensions/v1beta1", "", "");
    assert_eq!(oldest.selector.match_labels["app"], "web");
}

#[test]
fn a_target_port_is_the_port_where_absent() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  clusterIP: None\n  \
                selector: {app: web}\n  ports:\n    - {name: http, port: 80}\n    \
                - {name: http-admin, port: 81, targetPort: admin}\n";
    let Resource::Service(service) = resource(text) else {
        panic!("a Service")
    };
    assert_eq!(service.kind, ServiceKind::Headless);
    assert_eq!(service.ports[0].target_port, PortReference::Number(80));
    assert_eq!(
        service.ports[1].target_port,
        PortReference::Name("admin".to_owned())
    );
}

fn virtual_service(version: &str, http: &str) -> VirtualService {
    let text = format!(
        "apiVersion: networking.istio.io/{version}\nkind: VirtualService\nmetadata: {{name: web}}\n\
         spec:\n  hosts: [web]\n  http:\n{http}"
    );
    let Resource::VirtualService(service) = resource(&text) else {
        panic!("a VirtualService")
    };
    service
}

#[test]
fn every_api_version_of_istio_is_read() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let web = virtual_service(version, "    - route: [{destination: {host: web}}]\n");
        assert_eq!(web.gateways[0].value, "mesh");
        assert!(web.http[0].route[0].weight.is_none());
    }
}

#[test]
fn matches_become_conditions() {
    let web = virtual_service(
        "v1",
        "    - match:\n        - uri: {regex: '/a|/b'}\n          headers:\n            \
         X-User: {}\n            x-any: {regex: '*'}\n            cookie: {prefix: 'u='}\n          \
         queryParams: {debug: {exact: ''}}\n      route: [{destination: {host: web}}]\n",
    );
    let condition = &web.http[0].matches[0];
    let uri = condition.uri.as_ref().expect("a uri");
    assert!(uri.matches("/b") && !uri.matches("/bc") && !uri.matches("/a/b"));
    let header = |name: &str| {
        condition
            .headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, m)| m)
            .expect("a header")
    };
    assert!(matches!(header("x-user"), StringMatch::Present));
    assert!(matches!(header("x-any"), StringMatch::Present));
    assert!(matches!(header("cookie"), StringMatch::Prefix(text) if text == "u="));
    assert!(matches!(&condition.query_params[0].1, StringMatch::Exact(text) if text.is_empty()));
}

#[test]
fn old_and_new_fault_fields_mean_the_same() {
    for (delay, abort) in [
        ("percent: 10", "percent: 5"),
        ("percentage: {value: 10}", "percentage: {value: 5.0}"),
    ] {
        let web = virtual_service(
            "v1alpha3",
            &format!(
                "    - fault:\n        delay: {{fixedDelay: 1.5s, {delay}}}\n        \
                 abort: {{httpStatus: 503, {abort}}}\n      timeout: 0s\n      \
                 route: [{{destination: {{host: web}}}}]\n"
            ),
        );
        let fault = web.http[0].fault.as_ref().expect("a fault");
        let delay = fault.delay.as_ref().expect("a delay");
        assert_eq!(
            (delay.fixed_delay, delay.percentage),
            (Duration::from_millis(1500), Percent(10.0))
        );
        let abort = fault.abort.as_ref().expect("an abort");
        assert_eq!(
            (abort.status, abort.percentage),
            (AbortStatus::Http(503), Percent(5.0))
        );
        assert_eq!(web.http[0].timeout, None);
    }
}

#[test]
fn retries_without_attempts_are_two() {
    let route = "      route: [{destination: {host: web}}]\n";
    let web = virtual_service(
        "v1",
        &format!("    - retries: {{retryOn: '5xx,503'}}\n{route}"),
    );
    let retries = web.http[0].retries.as_ref().expect("retries");
    assert_eq!(retries.attempts, 2);
    assert_eq!(retries.retry_on.as_ref().map(Vec::len), Some(2));
}

#[test]
fn policies_have_istio_defaults() {
    let text = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\n\
                spec:\n  host: web\n  trafficPolicy:\n    loadBalancer:\n      consistentHash:\n        \
                httpCookie: {name: user, ttl: 0s}\n    connectionPool:\n      \
                http: {http1MaxPendingRequests: 0, http2MaxRequests: 5}\n    \
                outlierDetection: {}\n  subsets:\n    - name: old\n      trafficPolicy:\n        \
                outlierDetection: {consecutiveErrors: 3, baseEjectionTime: 1m}\n";
    let Resource::DestinationRule(rule) = resource(text) else {
        panic!("a DestinationRule")
    };
    let policy = rule.traffic_policy.expect("a policy");
    let balancer = policy.load_balancer.expect("a balancer");
    let LoadBalancerPolicy::ConsistentHash {
        key,
        minimum_ring_size,
        maglev,
    } = balancer.policy
    else {
        panic!("a hash")
    };
    assert!(matches!(
        key,
        HashKey::Cookie {
            ttl: Some(Duration::ZERO),
            ..
        }
    ));
    assert_eq!((minimum_ring_size, maglev), (1024, false));
    let pool = policy.connection_pool.expect("a pool");
    assert_eq!(
        (pool.http1_max_pending_requests, pool.http2_max_requests),
        (None, Some(5))
    );
    let outlier = policy.outlier_detection.expect("outliers");
    assert_eq!(outlier.consecutive_5xx, Some(5));
    assert_eq!(outlier.consecutive_gateway_errors, None);
    assert_eq!(
        (outlier.max_ejection_percent, outlier.min_health_percent),
        (10, 0)
    );
    let old = rule.subsets[0].traffic_policy.as_ref().expect("a policy");
    let outlier = old.outlier_detection.as_ref().expect("outliers");
    assert_eq!(outlier.consecutive_5xx, None);
    assert_eq!(outlier.consecutive_gateway_errors, Some(3));
    assert_eq!(outlier.base_ejection_time, Duration::from_secs(60));
}

fn ingress(version: &str, backend: &str) -> Ingress {
    let text = format!(
        "apiVersion: {version}\nkind: Ingress\nmetadata:\n  name: edge\n  annotations:\n    \
         kubernetes.io/ingress.class: nginx\n    nginx.ingress.kubernetes.io/rewrite-target: /\n\
         spec:\n  rules:\n    - http:\n        paths:\n          - path: /ui\n            \
         backend: {backend}\n"
    );
    let Resource::Ingress(ingress) = resource(&text) else {
        panic!("an Ingress")
    };
    ingress
}

#[test]
fn both_forms_of_ingress_mean_the_same() {
    for (version, backend) in [
        (
            "networking.k8s.io/v1",
            "{service: {name: ui, port: {number: 80}}}",
        ),
        (
            "networking.k8s.io/v1beta1",
            "{serviceName: ui, servicePort: 80}",
        ),
        ("extensions/v1beta1", "{serviceName: ui, servicePort: 80}"),
    ] {
        let edge = ingress(version, backend);
        assert_eq!(edge.ingress_class.as_deref(), Some("nginx"));
        assert_eq!(edge.rewrite_target.as_deref(), Some("/"));
        let path = &edge.rules[0].paths[0];
        assert_eq!(
            (path.path.as_str(), path.path_type),
            ("/ui", PathType::ImplementationSpecific)
        );
        assert_eq!(path.backend.service_name.value, "ui");
        assert_eq!(path.backend.service_port, PortReference::Number(80));
    }
}

#[test]
fn old_groups_are_the_same_object() {
    let both = "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}\nspec: {backend: {serviceName: a, servicePort: 80}}\n\
                ---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {defaultBackend: {service: {name: b, port: {number: 80}}}}\n";
    let loaded = read_str(Path::new("text.yaml"), both);
    assert_eq!(loaded.objects.len(), 1);
    assert_eq!(loaded.objects[0].api_version, "networking.k8s.io/v1");
}
