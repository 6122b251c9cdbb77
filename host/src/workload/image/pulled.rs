//! Pulled images, stored in the data folder as one OCI image layout: each image under its
//! full name.
//!
//! A blob is written to a temporary file, which is renamed when it is complete and matches
//! its digest. Blobs that no image uses are removed.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use oci_spec::image::{
    ANNOTATION_REF_NAME, Descriptor, Digest, ImageIndex, ImageIndexBuilder, MediaType,
    SCHEMA_VERSION,
};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use super::digest;
use super::layout::{ComponentFile, Layout, ref_name};
use super::verify::Signature;

/// How many images are kept. The image that was pulled the longest ago is removed first.
const IMAGES_MAX: usize = 200;

#[derive(Debug)]
pub(super) struct PulledImages {
    folder: PathBuf,
}

/// A stored image.
#[derive(Debug)]
pub(super) struct PulledImage {
    /// The digest of its manifest or index, as in the registry.
    pub(super) digest: Digest,
    pub(super) component: ComponentFile,
}

/// A blob that is being received.
pub(super) struct Incoming {
    file: NamedTempFile,
    hash: Sha256,
}

impl PulledImages {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The image with this name. If the layout is not readable, there is none, and the image
    /// is pulled again.
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
                digest: entry.digest().clone(),
                component,
            }),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(image = name, %error, "cannot use previously pulled images");
                None
            }
        }
    }

    /// The stored signatures of `manifests`; none if they are not readable.
    pub(super) fn signatures(&self, manifests: &[Digest]) -> Vec<Signature> {
        let layout = Layout::open(self.folder.clone()).ok().flatten();
        let signatures = layout.and_then(|layout| layout.signatures(manifests).ok());
        signatures.unwrap_or_default()
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

    /// Stores the blob. Returns false if its content does not match `digest`.
    pub(super) fn finish(&self, incoming: Incoming, digest: &Digest) -> io::Result<bool> {
        if digest::from_hash(&incoming.hash.finalize()) != *digest {
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

    /// Adds the image whose manifest or index is `digest` to the index, as `name`. All of its
    /// blobs must be stored already.
    pub(super) fn keep(&self, name: &str, digest: &Digest, size: u64) -> io::Result<()> {
        let mut index = match Layout::open(self.folder.clone()) {
            Ok(Some(layout)) => layout.into_index(),
            Ok(None) | Err(_) => empty_index(),
        };
        let mut manifests = index.manifests().clone();
        manifests.retain(|entry| ref_name(entry) != Some(name));
        let mut entry = Descriptor::new(MediaType::ImageManifest, size, digest.clone());
        entry.set_annotations(Some(HashMap::from([(
            ANNOTATION_REF_NAME.to_owned(),
            name.to_owned(),
        )])));
        manifests.push(entry);
        let surplus = manifests.len().saturating_sub(IMAGES_MAX);
        manifests.drain(..surplus);
        index.set_manifests(manifests);
        self.write("oci-layout", br#"{"imageLayoutVersion": "1.0.0"}"#)?;
        self.write("index.json", &serde_json::to_vec_pretty(&index)?)?;
        if let Err(error) = self.remove_unneeded(&index) {
            tracing::warn!(%error, "cannot remove unused image content");
        }
        Ok(())
    }

    /// Removes the blobs of images that were replaced.
    fn remove_unneeded(&self, index: &ImageIndex) -> io::Result<()> {
        let layout = Layout::new(self.folder.clone(), index.clone());
        let mut needed = HashSet::new();
        for entry in index.manifests() {
            let blobs = layout.blobs(entry).map_err(io::Error::other)?;
            for digest in blobs.iter().chain([entry.digest()]) {
                needed.insert(digest.digest().to_owned());
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
        self.blobs().join(digest.digest())
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

fn empty_index() -> ImageIndex {
    ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .manifests(Vec::new())
        .build()
        .expect("every required field is set")
}
