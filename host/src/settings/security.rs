//! What the host accepts of manifests: restrictions that it does not enforce, and references
//! to objects that do not exist.

use clap::Args;
use galleria_manifest::{AllowUnenforced, Unenforced};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecuritySettings {
    /// Restrictions that manifests may have although the host does not enforce them: kinds and fields, by the names in its errors
    #[arg(
        long,
        value_name = "KIND",
        value_delimiter = ',',
        env = "GALLERIA_ALLOW_UNENFORCED"
    )]
    allow_unenforced: Vec<Unenforced>,
    /// Refuse objects that refer to objects that do not exist; otherwise only the routes that need them fail
    #[arg(long, env = "GALLERIA_STRICT")]
    pub(crate) strict: bool,
}

impl SecuritySettings {
    pub(crate) fn allowed(&self) -> AllowUnenforced {
        self.allow_unenforced.iter().copied().collect()
    }
}
