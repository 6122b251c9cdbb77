//! `cargo xtask conformance`: compares the host with the reference implementations of what
//! it does.

mod istio;
mod kubernetes;

use anyhow::Result;

use crate::workspace::Workspace;

/// With what to compare.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Reference {
    /// Random policies and requests, decided by Istio's control plane and Envoy.
    Istio(istio::Options),
    /// A table of requests to the Kubernetes API, answered by kube-apiserver.
    Kubernetes(kubernetes::Options),
}

/// Compares; fails with the first differences that are not accepted.
pub(crate) fn run(workspace: &Workspace, reference: &Reference) -> Result<()> {
    match reference {
        Reference::Istio(options) => istio::run(workspace, options),
        Reference::Kubernetes(options) => kubernetes::run(workspace, options),
    }
}
