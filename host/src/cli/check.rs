//! `galleria check`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use galleria_manifest::Severity;
use galleria_manifest::model::{Class, Object};
use galleria_mesh as mesh;

use crate::files::Files;
use crate::settings::security::SecuritySettings;
use crate::terminal::print;
use crate::tls::GatewayTls;

pub(super) fn check(paths: Vec<PathBuf>, security: &SecuritySettings) -> anyhow::Result<ExitCode> {
    let mut read = Files::new(paths, security.allowed()).read();
    if !read.has_errors() {
        let state = mesh::State::new(std::time::Instant::now());
        let compiled = mesh::compile(&read.objects, &[], &mesh::Options::default(), &state);
        let listeners = compiled.snapshot.listeners();
        let tls = GatewayTls::load(listeners, &read.objects, &GatewayTls::default());
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
