//! What was pulled, kept below the data folder as one OCI image layout: each
//! image under its whole name.
//!
//! A blob is written beside its place and moved there when it is complete and
//! has its digest. Blobs that no image needs any more are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::artifact::{Descriptor, MANIFEST};
use super::layout::{Found, Index, Layout, NAME};
use super::reference::Digest;

/// Images that are kept; the one pulled longest ago goes first.
const IMAGES_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct Pulled {
    folder: PathBuf,
}

/// An image that is kept.
#[derive(Debug)]
pub(super) struct PulledImage {
    /// Of its manifest, as the registry names it.
    pub(super) digest: Digest,
    pub(super) component: Found,
}

/// A blob on its way in.
pub(super) struct Incoming {
    file: NamedTempFile,
    hash: Sha256,
}

impl Pulled {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// What is kept under this name. A layout that cannot be read holds nothing:
    /// it is pulled again.
    pub(super) fn find(&self, name: &str) -> Option<PulledImage> {
        let layout = match Layout::open(self.folder.clone()) {
            Ok(layout) => layout?,
            Err(error) => {
                tracing::warn!(%error, "cannot use previously pulled images");
                return None;
            }
        };
        let entry = layout.named(name)?;
        match layout.component(entry) {
            Ok(component) if component.path.is_file() => Some(PulledImage {
                digest: Digest::parse(&entry.digest)?,
                component,
            }),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(image = name, %error, "cannot use previously pulled images");
                None
            }
        }
    }

    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blob(digest).is_file()
    }

    pub(super) fn begin(&self) -> io::Result<Incoming> {
        fs::create_dir_all(self.blobs())?;
        Ok(Incoming {
            file: NamedTempFile::new_in(self.blobs())?,
            hash: Sha256::new(),
        })
    }

    /// Puts the blob in its place; false where its content is another than
    /// `digest` says.
    pub(super) fn finish(&self, incoming: Incoming, digest: &Digest) -> io::Result<bool> {
        if Digest::from_hash(&incoming.hash.finalize()) != *digest {
            return Ok(false);
        }
        incoming.file.as_file().sync_all()?;
        incoming.file.persist(self.blob(digest))?;
        Ok(true)
    }

    pub(super) fn put(&self, bytes: &[u8], digest: &Digest) -> io::Result<bool> {
        let mut incoming = self.begin()?;
        incoming.write(bytes)?;
        self.finish(incoming, digest)
    }

    /// Keeps the image whose manifest is `digest` under `name`; all of its blobs
    /// are there.
    pub(super) fn keep(&self, name: &str, digest: &Digest, size: u64) -> io::Result<()> {
        let mut index = match Layout::open(self.folder.clone()) {
            Ok(Some(layout)) => layout.into_index(),
            Ok(None) | Err(_) => Index::default(),
        };
        index.schema_version = 2;
        let is_other = |entry: &Descriptor| entry.annotations.get(NAME).is_none_or(|it| it != name);
        index.manifests.retain(is_other);
        index.manifests.push(Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: digest.to_string(),
            size,
            annotations: BTreeMap::from([(NAME.to_owned(), name.to_owned())]),
            platform: None,
        });
        let surplus = index.manifests.len().saturating_sub(IMAGES_MAX);
        index.manifests.drain(..surplus);
        self.write("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)?;
        self.write("index.json", &serde_json::to_vec_pretty(&index)?)?;
        if let Err(error) = self.remove_unneeded(&index) {
            tracing::warn!(%error, "cannot remove unused image content");
        }
        Ok(())
    }

    /// What an image that was replaced leaves behind.
    fn remove_unneeded(&self, index: &Index) -> io::Result<()> {
        let layout = Layout::new(self.folder.clone(), index.clone());
        let mut needed = BTreeSet::new();
        for entry in &index.manifests {
            let component = layout.component(entry).map_err(io::Error::other)?;
            let manifest = Digest::parse(&entry.digest);
            for digest in manifest.into_iter().chain(component.digest) {
                needed.insert(digest.hex().to_owned());
            }
        }
        for blob in fs::read_dir(self.blobs())? {
            let blob = blob?;
            if !needed.contains(blob.file_name().to_string_lossy().as_ref()) {
                fs::remove_file(blob.path())?;
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.folder.join(name))?;
        Ok(())
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs/sha256")
    }
}

impl Incoming {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.file.write_all(bytes)
    }
}
