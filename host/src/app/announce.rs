//! The announcement, for people and scripts, that the host is ready.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use galleria_manifest::model::{Resource, StringMatch};
use serde::Serialize;

use super::control::Control;
use crate::listen::BoundListener;
use crate::settings::RunSettings;
use crate::terminal::eprint;

/// URLs that are listed for one listener.
const PAGES_MAX: usize = 8;

/// The ports of the host itself.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Addresses {
    pub(super) status: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// The content of `--addresses-file`.
#[derive(Serialize)]
struct AddressesFile<'a> {
    listeners: &'a [BoundListener],
    #[serde(flatten)]
    own: Addresses,
}

/// Prints the addresses and writes the addresses file.
pub(super) fn ready(
    control: &Control,
    settings: &RunSettings,
    own: Addresses,
    took: Duration,
) -> anyhow::Result<()> {
    let listeners = control.data_plane.listeners.addresses();
    let paths = paths(control);
    for listener in &listeners {
        if listener.inbound {
            let (workload, address) = (&listener.gateway, listener.address);
            eprint(&format!(
                "{workload} accepts connections from other hosts on {address}"
            ));
            continue;
        }
        if listener.service {
            let (service, address) = (&listener.gateway, shown(listener.address));
            eprint(&format!(
                "http://{address} is port {} of Service {service}",
                listener.port
            ));
            continue;
        }
        for path in paths.iter().take(PAGES_MAX) {
            let scheme = if listener.tls { "https" } else { "http" };
            eprint(&format!("{scheme}://{}{path}", shown(listener.address)));
        }
    }
    eprint(&format!("http://{}/metrics", own.status));
    let pods = control.controllers.workloads.pods().len();
    eprint(&format!(
        "ready in {:.2} s with {pods} pods; ctrl-c drains and stops",
        took.as_secs_f32()
    ));
    let Some(file) = &settings.listen.addresses_file else {
        return Ok(());
    };
    let json = serde_json::to_vec(&AddressesFile {
        listeners: &listeners,
        own,
    })?;
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let written = tempfile::NamedTempFile::new_in(folder.unwrap_or_else(|| ".".as_ref())).and_then(
        |mut temporary| {
            temporary.write_all(&json)?;
            temporary.persist(file).map_err(|error| error.error)
        },
    );
    written.with_context(|| format!("cannot write the addresses to `{}`", file.display()))?;
    Ok(())
}

/// Shows a loopback address as `localhost`.
fn shown(address: SocketAddr) -> String {
    if address.ip().is_loopback() || address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// The paths that VirtualServices, HTTPRoutes and Ingresses route, in order; `/` for a
/// rule that matches every path. A regular expression is not a path to open.
fn paths(control: &Control) -> Vec<String> {
    let (stored, _) = control.reporting.store.list();
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    let mut add = |path: &str| {
        if seen.insert(path.to_owned()) {
            paths.push(path.to_owned());
        }
    };
    for stored in &stored {
        match &stored.object.resource {
            Resource::VirtualService(service)
                if service
                    .gateways
                    .iter()
                    .any(|gateway| gateway.as_str() != "mesh") =>
            {
                for rule in &service.http {
                    if rule.matches.is_empty() {
                        add("/");
                    }
                    for condition in &rule.matches {
                        match &condition.uri {
                            Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) => add(path),
                            Some(StringMatch::Regex { .. }) => {}
                            _ => add("/"),
                        }
                    }
                }
            }
            Resource::GatewayApiHttpRoute(route) => {
                for rule in route.rules.iter().flat_map(|rule| &rule.route.matches) {
                    match &rule.uri {
                        Some(StringMatch::Exact(path)) => add(path),
                        Some(StringMatch::PathPrefix(path)) if !path.is_empty() => add(path),
                        _ => add("/"),
                    }
                }
            }
            Resource::Ingress(ingress) => {
                for path in ingress.rules.iter().flat_map(|rule| &rule.paths) {
                    add(path.path.trim_end_matches('*'));
                }
            }
            _ => {}
        }
    }
    paths
}
