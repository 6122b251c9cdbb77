//! The identities of workloads, and the certificates that prove them.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use galleria_manifest::duration;

/// The shortest life of a workload's certificate: clocks of hosts differ.
const TTL_MIN: Duration = Duration::from_mins(5);
const TTL_MAX: Duration = Duration::from_hours(90 * 24);

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Identity")]
pub(crate) struct IdentitySettings {
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

pub(crate) fn certificate_ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    match (TTL_MIN..=TTL_MAX).contains(&ttl) {
        true => Ok(ttl),
        false => Err("it must be at least 5m and at most 2160h".into()),
    }
}
