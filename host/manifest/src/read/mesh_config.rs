//! Istio's MeshConfig: in the ConfigMap `istio` of `istio-system`, and in an IstioOperator.

mod ext_authz;

use super::gateway_topology;
use crate::codes;
use crate::decode::{Decoder, Fields, non_empty, steps};
use crate::model::{ConfigMap, ExtensionProvider, MeshConfig, Metadata, Resource};
use crate::yaml::{self, Mark, Node, Value};

/// The ConfigMap with the configuration of the mesh, its namespace, and its key.
const CONFIG_MAP: (&str, &str, &str) = ("istio-system", "istio", "mesh");

/// Fields that configure proxies and telemetry, or tools of the cluster.
const WITHOUT_EFFECT: &[&str] = &[
    "accessLogEncoding",
    "accessLogFile",
    "accessLogFormat",
    "configSources",
    "connectTimeout",
    "defaultDestinationRuleExportTo",
    "defaultHttpRetryPolicy",
    "defaultProviders",
    "defaultServiceExportTo",
    "defaultTrafficPolicy",
    "defaultVirtualServiceExportTo",
    "disableEnvoyListenerLog",
    "discoverySelectors",
    "dnsRefreshRate",
    "enableAutoMtls",
    "enableEnvoyAccessLogService",
    "enablePrometheusMerge",
    "enableTracing",
    "h2UpgradePolicy",
    "hboneIdleTimeout",
    "inboundClusterStatName",
    "ingressClass",
    "ingressControllerMode",
    "ingressSelector",
    "ingressService",
    "localityLbSetting",
    "outboundClusterStatName",
    "protocolDetectionTimeout",
    "proxyHttpPort",
    "proxyInboundListenPort",
    "proxyListenPort",
    "serviceEntryVisibility",
    "serviceScopeConfigs",
    "serviceSettings",
    "tcpKeepalive",
    "zoneAwareLbSetting",
];

/// Fields that restrict something in a cluster.
const NOT_HONOURED: &[&str] = &[
    "caCertificates",
    "inboundTrafficPolicy",
    "meshMTLS",
    "outboundTrafficPolicy",
    "pathNormalization",
    "rootNamespace",
    "tlsDefaults",
    "verifyCertificateAtClient",
];

/// The only root namespace that the host supports.
const ROOT_NAMESPACE: &str = "istio-system";

/// The kind IstioOperator, of which the host reads `spec.meshConfig`.
pub(crate) fn operator(mut fields: Fields<'_, '_>) -> Option<Resource> {
    let config = fields.optional("spec", |d, node| {
        Fields::of(d, node)?.optional("meshConfig", read)
    });
    Some(Resource::MeshConfig(config.unwrap_or_default()))
}

/// Reads the configuration in `map`, if it is the ConfigMap of the mesh. `node` is the whole
/// object.
pub(crate) fn take(d: &mut Decoder, map: &mut ConfigMap, metadata: &Metadata, node: &Node) {
    let (namespace, name, key) = CONFIG_MAP;
    if metadata.namespace != namespace || metadata.name.as_str() != name {
        return;
    }
    let Some(text) = map.data.get(key) else {
        return;
    };
    let value = node.get("data").and_then(|data| data.get(key));
    let begin = value.map_or(node.mark, |value| value.mark);
    let parsed = yaml::parse(text);
    map.mesh_config = d.within(steps!["data", "mesh"], |d| {
        for problem in parsed.problems {
            d.error(
                shifted(problem.mark, begin, text),
                problem.code,
                problem.message,
            );
        }
        let mut root = parsed.documents.into_iter().next()?;
        shift(&mut root, begin, text);
        read(d, &root)
    });
}

/// The position in the file of a position in the text of a value that begins at `begin`.
fn shifted(mark: Mark, begin: Mark, text: &str) -> Mark {
    match text.contains('\n') {
        // The position of a block is that of its first line.
        true if begin.line > 0 => Mark {
            line: (begin.line + mark.line).saturating_sub(1),
            column: (begin.column + mark.column).saturating_sub(1),
        },
        _ => begin,
    }
}

/// Moves the positions of `node`, which was read from `text`, to those in the file.
pub(super) fn shift(node: &mut Node, begin: Mark, text: &str) {
    node.mark = shifted(node.mark, begin, text);
    match &mut node.value {
        Value::Scalar(_) => {}
        Value::Sequence(items) => items.iter_mut().for_each(|item| shift(item, begin, text)),
        Value::Mapping(entries) => entries.iter_mut().for_each(|entry| {
            entry.key_mark = shifted(entry.key_mark, begin, text);
            shift(&mut entry.value, begin, text);
        }),
    }
}

fn read(d: &mut Decoder, node: &Node) -> Option<MeshConfig> {
    let mut fields = Fields::of(d, node)?;
    let extension_providers = fields.list("extensionProviders", provider);
    for (index, provider) in extension_providers.iter().enumerate() {
        let mut earlier = extension_providers.iter().take(index);
        if earlier.any(|it| it.name == provider.name) {
            let message = format!(
                "the provider `{}` is listed twice; give each a name of its own",
                provider.name
            );
            fields.error_at("extensionProviders", codes::DUPLICATE_NAME, message);
        }
    }
    if fields.get("rootNamespace").and_then(Node::as_text) == Some(ROOT_NAMESPACE) {
        fields.ignore(&["rootNamespace"]);
    }
    let gateway_topology = fields.optional("defaultConfig", |d, node| {
        Some(gateway_topology::of_proxy_config(d, node))
    });
    let trust_domain = fields.optional("trustDomain", |d, node| {
        trust_domain_name(d, node).map(|name| d.locate(name, node))
    });
    let trust_domain_aliases = fields.list("trustDomainAliases", trust_domain_name);
    fields.ignore(WITHOUT_EFFECT);
    fields.finish(NOT_HONOURED);
    Some(MeshConfig {
        extension_providers,
        trust_domain,
        trust_domain_aliases,
        gateway_topology: gateway_topology.flatten(),
    })
}

/// A trust domain of the SPIFFE standard.
fn trust_domain_name(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    let is_valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    if name.len() <= 255 && name.bytes().all(is_valid) {
        return Some(name);
    }
    let message = "is not a trust domain: at most 255 lower-case letters, digits, `.`, `-` and `_`";
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}

fn provider(d: &mut Decoder, node: &Node) -> Option<ExtensionProvider> {
    let at = d.position(node.mark);
    let mut fields = Fields::of(d, node)?;
    let name = fields.required("name", name);
    let (has_http, has_grpc) = (
        fields.has("envoyExtAuthzHttp"),
        fields.has("envoyExtAuthzGrpc"),
    );
    if has_http && has_grpc {
        let message = "only one of envoyExtAuthzHttp and envoyExtAuthzGrpc can be set".to_owned();
        fields.error_at("envoyExtAuthzHttp", codes::EXCLUSIVE_FIELDS, message);
    }
    let http = fields.optional("envoyExtAuthzHttp", ext_authz::http);
    let grpc = fields.optional("envoyExtAuthzGrpc", ext_authz::grpc);
    fields.ignore(&[
        "datadog",
        "envoyFileAccessLog",
        "envoyHttpAls",
        "envoyOtelAls",
        "envoyTcpAls",
        "lightstep",
        "opencensus",
        "opentelemetry",
        "prometheus",
        "sds",
        "skywalking",
        "stackdriver",
        "zipkin",
    ]);
    fields.finish_strictly();
    Some(ExtensionProvider {
        at,
        name: name?,
        ext_authz: http.or(grpc),
    })
}

/// The name becomes a part of the names of rules.
fn name(d: &mut Decoder, node: &Node) -> Option<String> {
    let name = non_empty(d, node)?;
    let is_valid = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    if name.len() <= 63 && name.bytes().all(is_valid) {
        return Some(name);
    }
    let message = "is not the name of a provider: at most 63 lower-case letters, digits and `-`";
    d.error(node.mark, codes::INVALID_VALUE, message);
    None
}
