//! Where the host stores data.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Data")]
pub(crate) struct DataSettings {
    /// Where volumes, databases and compiled code are stored
    #[arg(
        id = "data",
        long = "data",
        value_name = "DIR",
        default_value = ".galleria",
        env = "GALLERIA_DATA"
    )]
    pub folder: PathBuf,

    /// Where compiled code is stored [default: the folder `cache` in the data folder]
    #[arg(long, value_name = "DIR", env = "GALLERIA_CACHE")]
    pub cache: Option<PathBuf>,
}

impl DataSettings {
    pub(crate) fn cache_folder(&self) -> PathBuf {
        self.cache
            .clone()
            .unwrap_or_else(|| self.folder.join("cache"))
    }
}
