//! The services of external authorization that policies can name: `extensionProviders` of
//! MeshConfig.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{ExtAuthz, ExtAuthzHttp, ExtAuthzProtocol, ExtensionProvider};
use http::{HeaderName, HeaderValue, StatusCode};

use super::inventory::Inventory;
use super::registry::Registry;
use crate::Target;
use crate::inbound::external::{CheckProtocol, ExtAuthzProvider, HeaderPatterns, HttpCheck};

/// Providers by name.
#[derive(Debug, Default)]
pub(crate) struct ExtensionProviders(HashMap<String, Result<Arc<ExtAuthzProvider>, String>>);

impl ExtensionProviders {
    /// Of several providers with the same name, the first counts.
    pub(crate) fn new(inventory: &Inventory<'_>, registry: &Registry) -> Self {
        let mut providers = HashMap::new();
        let configs = inventory.mesh_configs.iter();
        for declared in configs.flat_map(|config| &config.extension_providers) {
            let name = declared.name.clone();
            let entry = providers.entry(name);
            entry.or_insert_with(|| provider(declared, registry));
        }
        Self(providers)
    }

    /// The provider with this name.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<ExtAuthzProvider>, String> {
        self.0.get(name).cloned().unwrap_or_else(|| {
            let mut known: Vec<_> = self.0.keys().map(|it| format!("`{it}`")).collect();
            known.sort();
            let known = match known.is_empty() {
                true => "none".to_owned(),
                false => known.join(", "),
            };
            Err(format!(
                "there is no provider `{name}` in extensionProviders of the mesh's configuration; \
                 it has {known}"
            ))
        })
    }
}

fn provider(
    declared: &ExtensionProvider,
    registry: &Registry,
) -> Result<Arc<ExtAuthzProvider>, String> {
    let name = declared.name.clone();
    let Some(config) = &declared.ext_authz else {
        return Err(format!(
            "the provider `{name}` is not one of external authorization; it needs \
             envoyExtAuthzHttp or envoyExtAuthzGrpc"
        ));
    };
    let authority = authority(config, registry)
        .map_err(|reason| format!("the provider `{name}` cannot be called: {reason}"))?;
    let status = StatusCode::from_u16(config.status_on_error);
    Ok(Arc::new(ExtAuthzProvider {
        name,
        authority,
        timeout: config.timeout,
        fail_open: config.fail_open,
        clear_route_cache: config.clear_route_cache,
        status_on_error: status.unwrap_or(StatusCode::FORBIDDEN),
        body: config.request_body,
        protocol: match &config.protocol {
            ExtAuthzProtocol::Grpc => CheckProtocol::Grpc,
            ExtAuthzProtocol::Http(http) => CheckProtocol::Http(http_check(http)),
        },
    }))
}

fn http_check(config: &ExtAuthzHttp) -> HttpCheck {
    let additional = config.additional_headers.iter();
    let additional = additional.filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_str(value).ok()?))
    });
    HttpCheck {
        path_prefix: config.path_prefix.clone(),
        request_headers: HeaderPatterns::new(&config.request_headers),
        additional_headers: additional.collect(),
        to_upstream_on_allow: HeaderPatterns::new(&config.headers_to_upstream_on_allow),
        to_downstream_on_deny: HeaderPatterns::new(&config.headers_to_downstream_on_deny),
        to_downstream_on_allow: HeaderPatterns::new(&config.headers_to_downstream_on_allow),
    }
}

/// The host and the port of the provider's service.
fn authority(config: &ExtAuthz, registry: &Registry) -> Result<String, String> {
    let (service, port) = (&config.service, config.port);
    service_authority(registry, service, port)
}

/// The host and the port of `[NAMESPACE/]HOST`, which must be declared.
pub(crate) fn service_authority(
    registry: &Registry,
    service: &str,
    port: u16,
) -> Result<String, String> {
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, service),
    };
    let found = registry.all_of(host);
    let found = found.filter(|it| namespace.is_none_or(|namespace| it.namespace == namespace));
    let found: Vec<_> = found.collect();
    let [service] = found.as_slice() else {
        return Err(match found.is_empty() {
            true => format!(
                "no Service and no ServiceEntry declares `{service}`; write the full name, for \
                 example `authorizer.shop.svc.cluster.local`"
            ),
            false => format!("several namespaces declare `{host}`; write `NAMESPACE/{host}`"),
        });
    };
    let declared = service.ports.iter().find(|it| it.number == port);
    let Some(declared) = declared else {
        return Err(format!("`{host}` has no port {port}"));
    };
    let mut endpoints = declared.endpoints.iter();
    if endpoints.any(|endpoint| endpoint.target == Target::Requested) {
        return Err(format!(
            "`{host}` has no address of its own (resolution NONE)"
        ));
    }
    Ok(format!("{host}:{port}"))
}
