//! MeshConfig in the ConfigMap of the mesh and in an IstioOperator.

use std::path::Path;
use std::time::Duration;

use galleria_manifest::model::{
    CheckedBody, ExtAuthz, ExtAuthzProtocol, ExtensionProvider, MeshConfig, Resource,
};
use galleria_manifest::{LoadResult, read_str};

use super::render;

/// A ConfigMap with `config` as the configuration of the mesh.
fn config_map(config: &str) -> LoadResult {
    let config = config.replace('\n', "\n    ");
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\n\
         data:\n  mesh: |-\n    {config}\n"
    );
    read_str(Path::new("text.yaml"), &text)
}

fn mesh_config(loaded: &LoadResult) -> Option<&MeshConfig> {
    match loaded.objects.first().map(|object| &object.resource) {
        Some(Resource::ConfigMap(map)) => map.mesh_config.as_ref(),
        Some(Resource::MeshConfig(config)) => Some(config),
        _ => None,
    }
}

fn providers(loaded: &LoadResult) -> &[ExtensionProvider] {
    mesh_config(loaded).map_or(&[], |config| &config.extension_providers)
}

/// The only provider of a configuration, with these fields of `kind`.
fn provider(kind: &str, fields: &str) -> ExtAuthz {
    let loaded = config_map(&format!(
        "extensionProviders:\n- name: opa\n  {kind}: {{service: opa.shop.svc.cluster.local, port: \
         9191{fields}}}"
    ));
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics)
    );
    let [provider] = providers(&loaded) else {
        unreachable!("{loaded:?}");
    };
    assert_eq!(provider.at.line, 7);
    provider.ext_authz.clone().expect("external authorization")
}

#[test]
fn providers_have_the_defaults_of_istio() {
    for kind in ["envoyExtAuthzHttp", "envoyExtAuthzGrpc"] {
        let provider = provider(kind, "");
        assert_eq!(provider.service, "opa.shop.svc.cluster.local");
        assert_eq!(provider.port, 9191);
        assert_eq!(provider.timeout, Duration::from_secs(600));
        assert!(!provider.fail_open && !provider.clear_route_cache);
        assert_eq!(provider.status_on_error, 403);
        assert_eq!(provider.request_body, None);
    }
}

#[test]
fn every_field_is_read() {
    let common = ", timeout: 0.5s, failOpen: true, clearRouteCache: true, statusOnError: '503', \
                  includeRequestBodyInCheck: {maxRequestBytes: 4096, allowPartialMessage: true, \
                  packAsBytes: true}";
    let http = ", pathPrefix: /check, includeRequestHeadersInCheck: [Cookie, x-*], \
                includeAdditionalHeadersInCheck: {x-mesh: shop}, headersToUpstreamOnAllow: \
                [X-User], headersToDownstreamOnDeny: ['*-cookie'], headersToDownstreamOnAllow: \
                [set-cookie]";
    for (kind, fields) in [
        ("envoyExtAuthzHttp", format!("{common}{http}")),
        ("envoyExtAuthzGrpc", common.to_owned()),
    ] {
        let provider = provider(kind, &fields);
        assert_eq!(provider.timeout, Duration::from_millis(500));
        assert!(provider.fail_open && provider.clear_route_cache);
        assert_eq!(provider.status_on_error, 503);
        let body = CheckedBody {
            bytes_max: 4096,
            allows_partial: true,
            packs_as_bytes: true,
        };
        assert_eq!(provider.request_body, Some(body));
        if let ExtAuthzProtocol::Http(http) = provider.protocol {
            assert_eq!(http.path_prefix, "/check");
            assert_eq!(http.request_headers, ["cookie", "x-*"]);
            assert_eq!(http.additional_headers["x-mesh"], "shop");
            assert_eq!(http.headers_to_upstream_on_allow, ["x-user"]);
            assert_eq!(http.headers_to_downstream_on_deny, ["*-cookie"]);
            assert_eq!(http.headers_to_downstream_on_allow, ["set-cookie"]);
        }
    }
}

#[test]
fn operator_has_the_same_configuration() {
    let loaded = read_str(
        Path::new("text.yaml"),
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {name: mesh, \
         namespace: istio-system}\nspec:\n  profile: demo\n  meshConfig:\n    extensionProviders:\n    \
         - {name: opa, envoyExtAuthzGrpc: {service: opa, port: 1}}\n    - {name: zipkin, zipkin: \
         {service: zipkin, port: 1}}\n",
    );
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics)
    );
    let names = providers(&loaded).iter();
    let names: Vec<_> = names
        .map(|it| (it.name.as_str(), it.ext_authz.is_some()))
        .collect();
    assert_eq!(names, [("opa", true), ("zipkin", false)]);
}

#[test]
fn other_config_maps_have_no_configuration() {
    for metadata in [
        "name: istio, namespace: shop",
        "name: other, namespace: istio-system",
    ] {
        let loaded = read_str(
            Path::new("text.yaml"),
            &format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{{metadata}}}\ndata: {{mesh: '[]'}}\n"
            ),
        );
        assert!(
            loaded.diagnostics.is_empty(),
            "{}",
            render(&loaded.diagnostics)
        );
        assert!(providers(&loaded).is_empty());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "the test is one table")]
fn mistakes_are_reported_where_they_are() {
    let http = |fields: &str| {
        format!("extensionProviders:\n- name: opa\n  envoyExtAuthzHttp:\n    {{{fields}}}")
    };
    let valid = "service: a.example, port: 80";
    let rows = [
        (
            http("port: 80"),
            9,
            "the required field `service` is missing",
        ),
        (
            http("service: a.example"),
            9,
            "the required field `port` is missing",
        ),
        (http("service: 'a:80', port: 80"), 9, "is not a service"),
        (http("service: a/b/c, port: 80"), 9, "is not a service"),
        (http("service: a.example, port: 0"), 9, "port"),
        (
            http(&format!("{valid}, timeout: 5")),
            9,
            "a unit is missing",
        ),
        (http(&format!("{valid}, timeout: 0s")), 9, "at least 1ms"),
        (
            http(&format!("{valid}, statusOnError: '299'")),
            9,
            "not a status of HTTP",
        ),
        (
            http(&format!("{valid}, statusOnError: 'no'")),
            9,
            "not a status of HTTP",
        ),
        (
            http(&format!("{valid}, pathPrefix: check")),
            9,
            "not the beginning of a path",
        ),
        (
            http(&format!("{valid}, failopen: true")),
            9,
            "unknown field",
        ),
        (
            http(&format!("{valid}, headersToUpstreamOnAllow: ['a b']")),
            9,
            "is not a header name",
        ),
        (
            http(&format!("{valid}, includeRequestBodyInCheck: {{}}")),
            9,
            "`maxRequestBytes` is missing",
        ),
        (
            "extensionProviders:\n- name: Opa\n  envoyExtAuthzGrpc: {service: a, port: 1}".into(),
            7,
            "is not the name of a provider",
        ),
        (
            "extensionProviders:\n- {name: opa, zipkin: {}}\n- {name: opa, zipkin: {}}".into(),
            6,
            "is listed twice",
        ),
        (
            "extensionProviders:\n- {name: opa, envoyExtAuthzHttps: {}}".into(),
            7,
            "unknown field",
        ),
        ("extensionProviders: {}".into(), 6, "expected a list"),
        ("trustDomain: [".into(), 6, ""),
        (
            "trustDomain: Shop.example".into(),
            6,
            "is not a trust domain",
        ),
        (
            "trustDomainAliases: [a, 'b/c']".into(),
            6,
            "is not a trust domain",
        ),
        (
            "pathNormalization: {normalization: NONE}".into(),
            6,
            "is not supported by this host",
        ),
        ("extensionProvider: []".into(), 6, "unknown field"),
        (
            "defaultConfig: {gatewayTopology: {numTrustedProxies: -1}}".into(),
            6,
            "must not be negative",
        ),
        (
            "defaultConfig: {gatewayTopology: {proxyProtocol: true}}".into(),
            6,
            "expected a mapping",
        ),
    ];
    for (config, line, message) in rows {
        let found = render(&config_map(&config).diagnostics);
        assert!(found.contains(message), "{config}\n{found}");
        assert!(
            found.starts_with(&format!("text.yaml:{line}:")),
            "{config}\n{found}"
        );
    }
}

#[test]
fn trusted_proxies_are_read() {
    for (config, expected) in [
        (
            "defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}",
            Some(2),
        ),
        (
            "defaultConfig: {gatewayTopology: {numTrustedProxies: 0}}",
            Some(0),
        ),
        (
            "defaultConfig: {gatewayTopology: {forwardClientCertDetails: SANITIZE}}",
            None,
        ),
        ("defaultConfig: {concurrency: 2}", None),
        ("accessLogFile: /dev/stdout", None),
    ] {
        let loaded = config_map(config);
        let proxies =
            mesh_config(&loaded).and_then(|it| it.gateway_topology.as_ref()?.num_trusted_proxies);
        assert_eq!(proxies, expected, "{config}");
        assert!(loaded.diagnostics.is_empty(), "{config}");
    }
}

#[test]
fn presence_turns_the_proxy_protocol_on() {
    for (topology, expected) in [
        ("{proxyProtocol: {}}", Some(true)),
        ("{proxyProtocol: null}", Some(false)),
        ("{}", Some(false)),
    ] {
        let loaded = config_map(&format!("defaultConfig: {{gatewayTopology: {topology}}}"));
        let topology = mesh_config(&loaded).and_then(|it| it.gateway_topology.as_ref());
        assert_eq!(topology.map(|it| it.proxy_protocol), expected);
        assert!(loaded.diagnostics.is_empty(), "{:?}", loaded.diagnostics);
    }
}

#[test]
fn configuration_of_an_installation_is_silent() {
    let loaded = config_map(
        "accessLogFile: /dev/stdout\ndefaultConfig:\n  discoveryAddress: istiod:15012\n\
         defaultProviders:\n  metrics:\n  - prometheus\nenablePrometheusMerge: true\n\
         extensionProviders:\n- name: otel\n  envoyOtelAls:\n    port: 4317\n    service: otel\n\
         rootNamespace: istio-system\ntrustDomain: shop.example\n\
         trustDomainAliases: [cluster.local, old.example]",
    );
    assert!(
        loaded.diagnostics.is_empty(),
        "{}",
        render(&loaded.diagnostics)
    );
}

#[test]
fn body_that_a_provider_gets_is_bounded() {
    let loaded = config_map(
        "extensionProviders:\n- name: opa\n  envoyExtAuthzGrpc: {service: a, port: 1, \
         includeRequestBodyInCheck: {maxRequestBytes: 4294967295}}",
    );
    let found = render(&loaded.diagnostics);
    assert!(
        found.contains("at most 1048576 bytes of a body are sent"),
        "{found}"
    );
    let provider = providers(&loaded)
        .first()
        .and_then(|it| it.ext_authz.as_ref());
    let body = provider.and_then(|provider| provider.request_body);
    assert_eq!(body.map(|body| body.bytes_max), Some(1 << 20));
}
