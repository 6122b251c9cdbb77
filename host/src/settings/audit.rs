//! The audit log of the admin API.

use std::path::{Path, PathBuf};

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Audit")]
pub(crate) struct AuditSettings {
    /// Kubernetes' audit Policy, which says what of the Kubernetes API is logged
    #[arg(
        long = "audit-policy-file",
        value_name = "FILE",
        requires = "log_path",
        env = "GALLERIA_AUDIT_POLICY_FILE"
    )]
    policy_file: Option<PathBuf>,

    /// Where the audit log is written, as lines of JSON; `-` is standard output
    #[arg(
        id = "log_path",
        long = "audit-log-path",
        value_name = "FILE",
        requires = "policy_file",
        env = "GALLERIA_AUDIT_LOG_PATH"
    )]
    log_path: Option<PathBuf>,

    /// Size in MiB at which the audit log is rotated; 0 never rotates it
    #[arg(
        long = "audit-log-maxsize",
        value_name = "MIB",
        default_value_t = 100,
        env = "GALLERIA_AUDIT_LOG_MAXSIZE"
    )]
    max_size: u64,

    /// How many rotated audit logs are kept; 0 keeps all
    #[arg(
        long = "audit-log-maxbackup",
        value_name = "N",
        default_value_t = 0,
        env = "GALLERIA_AUDIT_LOG_MAXBACKUP"
    )]
    max_backups: usize,

    /// How many days rotated audit logs are kept; 0 keeps them forever
    #[arg(
        long = "audit-log-maxage",
        value_name = "DAYS",
        default_value_t = 0,
        env = "GALLERIA_AUDIT_LOG_MAXAGE"
    )]
    max_age: u32,
}

/// What is logged where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AuditFiles<'a> {
    pub policy: &'a Path,
    /// `None` is standard output.
    pub log: Option<&'a Path>,
    pub rotation: Rotation,
}

/// When a log is rotated, and how long rotated logs are kept. 0 is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rotation {
    pub bytes_max: u64,
    pub backups_max: usize,
    pub days_max: u32,
}

impl AuditSettings {
    /// `None` if there is no audit log.
    pub(crate) fn files(&self) -> Option<AuditFiles<'_>> {
        let is_named = |path: &&PathBuf| !path.as_os_str().is_empty();
        let policy = self.policy_file.as_ref().filter(is_named)?;
        let log = self.log_path.as_ref().filter(is_named)?;
        Some(AuditFiles {
            policy,
            log: (log.as_os_str() != "-").then_some(log),
            rotation: Rotation {
                bytes_max: self.max_size.saturating_mul(1 << 20),
                backups_max: self.max_backups,
                days_max: self.max_age,
            },
        })
    }
}
