//! What the host accepts although it is less secure than its manifests ask for.

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
}

impl SecuritySettings {
    pub(crate) fn allowed(&self) -> AllowUnenforced {
        self.allow_unenforced.iter().copied().collect()
    }
}
