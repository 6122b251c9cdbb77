//! How Secrets are encrypted at rest.

use std::path::{Path, PathBuf};

use clap::Args;

use super::variable;

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct EncryptionSettings {
    /// Kubernetes' EncryptionConfiguration, with the keys that encrypt objects in the data folder
    #[arg(
        long = "encryption-provider-config",
        value_name = "FILE",
        env = "GALLERIA_ENCRYPTION_PROVIDER_CONFIG"
    )]
    config: Option<PathBuf>,
}

impl EncryptionSettings {
    /// The file with the configuration; one whose name is empty is absent.
    pub(crate) fn config(&self) -> Option<&Path> {
        let file = self.config.as_deref();
        file.filter(|file| !file.as_os_str().is_empty())
    }

    /// The value of a variable that the configuration names as a key.
    pub(crate) fn key_variable(name: &str) -> Option<String> {
        variable(name)
    }
}
