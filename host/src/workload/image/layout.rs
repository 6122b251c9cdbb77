//! OCI image layouts: folders with `index.json` and `blobs/sha256`. Tools write them, and
//! pulled images are stored in one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, Digest, ImageIndex};

use super::artifact::{self, ArtifactError, MANIFEST_MAX, Next};
use super::digest;
use super::reference::Reference;
use super::verify::{PAYLOAD_MAX, SIGNATURES_MAX, Signature};

/// The number of manifests between the index and the component: an index may contain one
/// more index.
const DEPTH_MAX: usize = 2;

/// `cosign save` marks the entries of a layout with what they are.
const KIND: &str = "kind";
const COSIGN: &str = "dev.cosignproject.cosign/";
const SIGNATURES: &str = "dev.cosignproject.cosign/sigs";
const IMAGES: [&str; 2] = [
    "dev.cosignproject.cosign/image",
    "dev.cosignproject.cosign/imageIndex",
];

/// A layout whose index has been read.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    index: ImageIndex,
}

/// A component on disk, and the digest that its content must have.
#[derive(Debug)]
pub(super) struct ComponentFile {
    pub(super) path: PathBuf,
    pub(super) digest: Option<Digest>,
    /// The manifest that names the component, and the indexes that lead to it; none for a file
    /// that is not in a layout. Each was checked against its digest.
    pub(super) manifests: Vec<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is larger than the limit of {max} bytes", path.display())]
    TooLarge { path: PathBuf, max: u64 },
    #[error("`{}` is not a valid index of an OCI image layout", path.display())]
    Index {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the layout `{}` has no `{wanted}`; it has {}", folder.display(), list(there))]
    Missing {
        folder: PathBuf,
        wanted: String,
        there: Vec<String>,
    },
    #[error("the content of blob {digest} does not match its digest; copy the layout again")]
    Corrupt { digest: Digest },
    #[error("its indexes are nested too deeply")]
    Depth,
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

fn list(there: &[String]) -> String {
    match there {
        [] => "nothing".to_owned(),
        names => names.join(", "),
    }
}

impl Layout {
    pub(super) fn new(folder: PathBuf, index: ImageIndex) -> Self {
        Self { folder, index }
    }

    /// `None` if `folder` contains no layout.
    pub(super) fn open(folder: PathBuf) -> Result<Option<Self>, LayoutError> {
        let path = folder.join("index.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = read(&path, MANIFEST_MAX)?;
        let index = serde_json::from_slice(&text);
        let index = index.map_err(|source| LayoutError::Index { path, source })?;
        Ok(Some(Self { folder, index }))
    }

    /// Finds the component of `image` by its digest, or by its tag if it has no digest. A
    /// layout with a single, unnamed entry matches every tag.
    pub(super) fn find(&self, image: &Reference) -> Result<ComponentFile, LayoutError> {
        let all = self.index.manifests().iter();
        let entries: Vec<_> = all.filter(|entry| is_image(entry)).collect();
        let entry = match (&image.digest, entries.as_slice()) {
            (Some(digest), entries) => entries.iter().find(|entry| entry.digest() == digest),
            (None, [only]) if ref_name(only).is_none() => Some(only),
            (None, entries) => entries.iter().find(|entry| is_tagged(entry, image.tag())),
        };
        match entry {
            Some(entry) => self.component(entry),
            None => Err(self.missing(image)),
        }
    }

    /// The entry with exactly this name.
    pub(super) fn named(&self, name: &str) -> Option<&Descriptor> {
        let mut entries = self.index.manifests().iter();
        entries.find(|entry| ref_name(entry) == Some(name))
    }

    /// Follows an entry to its component. This checks manifests against their digests; the
    /// caller checks the component.
    pub(super) fn component(&self, entry: &Descriptor) -> Result<ComponentFile, LayoutError> {
        let mut digest = artifact::digest_of(entry)?;
        let mut manifests = Vec::new();
        for _ in 0..=DEPTH_MAX {
            let manifest = self.checked(&digest, MANIFEST_MAX)?;
            manifests.push(digest);
            match artifact::next(&manifest)? {
                Next::Manifest(next) => digest = next,
                Next::Component(component, _) => {
                    return Ok(ComponentFile {
                        path: self.blob(&component),
                        digest: Some(component),
                        manifests,
                    });
                }
            }
        }
        Err(LayoutError::Depth)
    }

    /// The signatures of `manifests`: under the names that cosign gives them in registries, or
    /// as `cosign save` writes them. Those that cannot be read are left out.
    pub(super) fn signatures(&self, manifests: &[Digest]) -> Result<Vec<Signature>, LayoutError> {
        let mut found = Vec::new();
        let is_named = |entry: &Descriptor| {
            let names = manifests.iter().map(signature_tag);
            kind(entry) == Some(SIGNATURES) || names.into_iter().any(|it| is_tagged(entry, &it))
        };
        for entry in self.index.manifests().iter().filter(|it| is_named(it)) {
            let manifest = self.checked(&artifact::digest_of(entry)?, MANIFEST_MAX)?;
            for layer in artifact::signatures(&manifest)? {
                let payload = self.checked(&artifact::digest_of(&layer)?, PAYLOAD_MAX)?;
                let annotations = layer.annotations().clone().unwrap_or_default();
                match Signature::from_layer(payload, &annotations) {
                    Ok(signature) => found.push(signature),
                    Err(error) => tracing::warn!(%error, "cannot read a signature"),
                }
            }
        }
        found.truncate(SIGNATURES_MAX);
        Ok(found)
    }

    /// The blobs that an entry needs, without its own.
    pub(super) fn blobs(&self, entry: &Descriptor) -> Result<Vec<Digest>, LayoutError> {
        if !is_image(entry) {
            let manifest = self.checked(&artifact::digest_of(entry)?, MANIFEST_MAX)?;
            let layers = artifact::signatures(&manifest)?;
            return Ok(layers.iter().map(|layer| layer.digest().clone()).collect());
        }
        let ComponentFile {
            digest, manifests, ..
        } = self.component(entry)?;
        Ok(manifests.into_iter().chain(digest).collect())
    }

    /// Reads a blob and checks it against its digest.
    fn checked(&self, digest: &Digest, max: u64) -> Result<Vec<u8>, LayoutError> {
        let content = read(&self.blob(digest), max)?;
        match digest::of(&content) == *digest {
            true => Ok(content),
            false => Err(LayoutError::Corrupt {
                digest: digest.clone(),
            }),
        }
    }

    pub(super) fn into_index(self) -> ImageIndex {
        self.index
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.digest())
    }

    fn missing(&self, image: &Reference) -> LayoutError {
        let wanted = match &image.digest {
            Some(digest) => digest.to_string(),
            None => image.tag().to_owned(),
        };
        let name = |entry: &Descriptor| match (&image.digest, ref_name(entry)) {
            (None, Some(name)) => name.to_owned(),
            _ => entry.digest().to_string(),
        };
        LayoutError::Missing {
            folder: self.folder.clone(),
            wanted,
            there: self.index.manifests().iter().map(name).collect(),
        }
    }
}

/// The annotation that contains an entry's tag, or its full name.
pub(super) fn ref_name(entry: &Descriptor) -> Option<&str> {
    let annotations = entry.annotations().as_ref()?;
    annotations.get(ANNOTATION_REF_NAME).map(String::as_str)
}

/// Some tools write only the tag, others the full name.
fn is_tagged(entry: &Descriptor, tag: &str) -> bool {
    ref_name(entry).is_some_and(|name| {
        name == tag
            || name
                .strip_suffix(tag)
                .is_some_and(|rest| rest.ends_with(':'))
    })
}

/// The tag under which cosign stores the signatures of an image.
pub(super) fn signature_tag(manifest: &Digest) -> String {
    format!("sha256-{}.sig", manifest.digest())
}

/// Whether an entry is an image, and not something about one.
fn is_image(entry: &Descriptor) -> bool {
    let is_marked = |it: &str| it.starts_with(COSIGN) && !IMAGES.contains(&it);
    let is_tag = |name: &str| {
        let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
        tag.starts_with("sha256-") && tag.contains('.')
    };
    !kind(entry).is_some_and(is_marked) && !ref_name(entry).is_some_and(is_tag)
}

fn kind(entry: &Descriptor) -> Option<&str> {
    let annotations = entry.annotations().as_ref()?;
    annotations.get(KIND).map(String::as_str)
}

fn read(path: &Path, max: u64) -> Result<Vec<u8>, LayoutError> {
    let failed = |source| LayoutError::Read {
        path: path.into(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max {
        let path = path.into();
        return Err(LayoutError::TooLarge { path, max });
    }
    Ok(bytes)
}
