//! Where images come from.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Images")]
pub(crate) struct ImageSettings {
    /// Folder in which images are looked up: NAME/TAG.wasm, NAME.wasm, or an OCI image layout NAME
    #[arg(
        long,
        value_name = "DIR",
        default_value = "components",
        env = "GALLERIA_COMPONENTS"
    )]
    pub components: PathBuf,

    /// A certificate authority for registries, in PEM, in addition to the system's
    #[arg(long, value_name = "FILE", env = "GALLERIA_REGISTRY_CA")]
    pub registry_ca: Option<PathBuf>,

    /// A registry to access over plain HTTP, as `HOST[:PORT]`; not needed for loopback
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        env = "GALLERIA_REGISTRY_INSECURE"
    )]
    pub registry_insecure: Vec<String>,

    /// Who must have signed which images: a ClusterImagePolicy in YAML, or a public key in PEM for all images; separate several with commas
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        env = "GALLERIA_VERIFY_IMAGES"
    )]
    pub verify_images: Vec<PathBuf>,
}

/// How registries are accessed.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegistrySettings {
    /// A certificate authority in PEM, in addition to the system's.
    pub ca: Option<Vec<u8>>,
    /// Registries over plain HTTP, as `HOST[:PORT]`. Those on loopback always are.
    pub insecure: Vec<String>,
}

impl ImageSettings {
    /// # Errors
    /// `--registry-ca` names a file that cannot be read.
    pub(crate) fn registries(&self) -> anyhow::Result<RegistrySettings> {
        let ca = match &self.registry_ca {
            Some(file) => {
                let failed = || format!("cannot read --registry-ca `{}`", file.display());
                Some(std::fs::read(file).with_context(failed)?)
            }
            None => None,
        };
        Ok(RegistrySettings {
            ca,
            insecure: self.registry_insecure.clone(),
        })
    }

    /// The files of `--verify-images`, with their contents.
    ///
    /// # Errors
    /// One cannot be read.
    pub(crate) fn policies(&self) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
        let read = |file: &PathBuf| {
            let failed = || format!("cannot read --verify-images `{}`", file.display());
            let content = std::fs::read(file).with_context(failed)?;
            Ok((file.clone(), content))
        };
        self.verify_images.iter().map(read).collect()
    }
}
