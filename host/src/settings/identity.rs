//! The identities of workloads, and the certificates that prove them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use galleria_manifest::duration;
use galleria_mesh::inbound::{TRUST_DOMAIN, is_trust_domain};

/// The shortest life of a workload's certificate: clocks of hosts differ.
const TTL_MIN: Duration = Duration::from_mins(5);
const TTL_MAX: Duration = Duration::from_hours(90 * 24);

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentitySettings {
    #[command(flatten)]
    pub trust: TrustSettings,

    /// Folder with the certificate authority of the mesh, shared by its hosts; made if it is empty [default: one of this host's own, in memory]
    #[arg(long, value_name = "DIR", env = "GALLERIA_CA_DIR")]
    pub ca_dir: Option<PathBuf>,

    /// How long a certificate of a workload is valid; it is renewed before it ends
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "24h",
        value_parser = certificate_ttl,
        env = "GALLERIA_WORKLOAD_CERTIFICATE_TTL"
    )]
    pub workload_certificate_ttl: Duration,
}

/// For every command that knows identities.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct TrustSettings {
    /// The trust domain of the mesh: the first part of the identities of its workloads
    #[arg(
        long,
        value_name = "NAME",
        default_value = TRUST_DOMAIN,
        value_parser = trust_domain,
        env = "GALLERIA_TRUST_DOMAIN"
    )]
    pub trust_domain: Arc<str>,
}

impl Default for TrustSettings {
    fn default() -> Self {
        Self {
            trust_domain: TRUST_DOMAIN.into(),
        }
    }
}

fn trust_domain(name: &str) -> Result<Arc<str>, String> {
    match is_trust_domain(name) {
        true => Ok(name.into()),
        false => {
            Err("it must have at most 255 lower-case letters, digits, `.`, `-` and `_`".into())
        }
    }
}

pub(crate) fn certificate_ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    match (TTL_MIN..=TTL_MAX).contains(&ttl) {
        true => Ok(ttl),
        false => Err("it must be at least 5m and at most 2160h".into()),
    }
}
