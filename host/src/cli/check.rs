//! `galleria check`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use galleria_manifest::Severity;
use galleria_manifest::model::{Class, Object};
use galleria_mesh as mesh;

use crate::encryption::{Encryption, NOT_ENCRYPTED};
use crate::files::Files;
use crate::settings::encryption::EncryptionSettings;
use crate::settings::identity::TrustSettings;
use crate::settings::security::SecuritySettings;
use crate::settings::topology::GatewaySettings;
use crate::terminal::{eprint, print};
use crate::tls::{GatewayTls, MeshCertificates};

/// The flags of `galleria run` that change what is a problem.
#[derive(Debug, Clone, Args)]
pub(super) struct Settings {
    #[command(flatten)]
    security: SecuritySettings,
    #[command(flatten)]
    encryption: EncryptionSettings,
    #[command(flatten)]
    trust: TrustSettings,
    #[command(flatten)]
    gateways: GatewaySettings,
    /// The address that `run` binds listeners on; with one that others can reach, Secrets should be encrypted
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST), env = "GALLERIA_BIND")]
    bind: IpAddr,
    /// The address of the Kubernetes API that `run` has
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:15000",
        env = "GALLERIA_ADMIN"
    )]
    admin: SocketAddr,
}

pub(super) fn check(paths: Vec<PathBuf>, settings: &Settings) -> anyhow::Result<ExitCode> {
    let encryption = Arc::new(Encryption::open(&settings.encryption)?);
    let is_exposed = !settings.bind.is_loopback() || !settings.admin.ip().is_loopback();
    if is_exposed && !encryption.protects_secrets() {
        eprint(&format!("warning: {NOT_ENCRYPTED}"));
    }
    let files = Files::new(paths, settings.security.allowed(), encryption);
    let mut read = files
        .strict(settings.security.strict)
        .gateway_in(settings.gateways.gateway_namespace.as_deref())
        .read();
    if !read.has_errors() {
        let state = mesh::State::new(std::time::Instant::now());
        let options = settings.gateways.apply(mesh::Options {
            trust_domain: settings.trust.trust_domain.clone(),
            ..mesh::Options::default()
        });
        let compiled = mesh::compile(&read.objects, &[], &options, &state);
        let listeners = compiled.snapshot.listeners();
        let tls = GatewayTls::load(
            listeners,
            &read.objects,
            &MeshCertificates::Unknown,
            &GatewayTls::default(),
        );
        read.diagnostics.extend(compiled.diagnostics);
        read.diagnostics.extend(tls.diagnostics());
        read.diagnostics.sort();
        read.diagnostics.dedup();
    }
    for diagnostic in &read.diagnostics {
        print(&diagnostic.to_string());
    }
    let count = |severity| {
        read.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    print(&summary(&read.objects, errors, warnings));
    Ok(ExitCode::from(u8::from(errors > 0)))
}

fn summary(objects: &[Arc<Object>], errors: usize, warnings: usize) -> String {
    let enforced = objects
        .iter()
        .filter(|object| object.class() == Class::Enforced)
        .count();
    let left = objects.len() - enforced;
    format!(
        "{} objects: {enforced} enforced here, {left} left to the cluster; {errors} errors, {warnings} warnings",
        objects.len()
    )
}
