//! The host's settings, from flags and `GALLERIA_…` variables.
//!
//! One file per concern owns the flags of the concern and the values that it
//! configures. Only this room reads the process environment. Everything is checked
//! here, before the host starts anything.

pub(crate) mod audit;
mod data;
pub(crate) mod encryption;
pub(crate) mod guest;
pub(crate) mod identity;
pub(crate) mod image;
pub(crate) mod listen;
pub(crate) mod security;
pub(crate) mod telemetry;
pub(crate) mod topology;

use std::path::PathBuf;

use clap::Args;

/// The port that a redirect to HTTPS uses.
const HTTPS: u16 = 443;

/// Settings of `galleria run`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunSettings {
    /// Files and folders with Kubernetes and Istio YAML; changes are applied while running
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    pub image: image::ImageSettings,
    #[command(flatten)]
    pub data: data::DataSettings,
    #[command(flatten)]
    pub topology: topology::TopologySettings,
    #[command(flatten)]
    pub identity: identity::IdentitySettings,
    #[command(flatten)]
    pub listen: listen::ListenSettings,
    #[command(flatten)]
    pub guest: guest::GuestSettings,
    #[command(flatten)]
    pub audit: audit::AuditSettings,
    #[command(flatten)]
    pub encryption: encryption::EncryptionSettings,
    #[command(flatten)]
    pub security: security::SecuritySettings,
    #[command(flatten)]
    pub telemetry: telemetry::TelemetrySettings,
}

impl RunSettings {
    pub(crate) fn mesh_options(&self) -> galleria_mesh::Options {
        use topology::OutboundPolicy::{AllowAny, RegistryOnly};
        self.topology.gateways.apply(galleria_mesh::Options {
            outbound_policy: match self.topology.outbound_policy {
                RegistryOnly => galleria_mesh::OutboundPolicy::RegistryOnly,
                AllowAny => galleria_mesh::OutboundPolicy::AllowAny,
            },
            private_networks: self.topology.outbound_private_networks.clone(),
            trust_domain: self.identity.trust.trust_domain.clone(),
            https_redirect_port: self.listen.binding().ports.fixed(HTTPS),
            ..galleria_mesh::Options::default()
        })
    }

    /// How long clients may take over each step.
    pub(crate) fn client_timeouts(&self) -> listen::ClientTimeouts {
        self.listen.client_timeouts(self.guest.idle_timeout)
    }
}

/// A variable of the process environment; one that is empty is absent.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the place that the ban leaves"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
