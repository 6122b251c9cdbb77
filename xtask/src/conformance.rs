//! `cargo xtask conformance`: compares the mesh with the reference implementations of what
//! it does.

mod istio;

use anyhow::Result;

use crate::workspace::Workspace;

/// With what to compare.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Reference {
    /// Random policies and requests, decided by Istio's control plane and Envoy.
    Istio(istio::Options),
}

/// Compares; fails with the first differences that are not accepted.
pub(crate) fn run(workspace: &Workspace, reference: &Reference) -> Result<()> {
    match reference {
        Reference::Istio(options) => istio::run(workspace, options),
    }
}
