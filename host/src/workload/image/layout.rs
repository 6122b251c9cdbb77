//! OCI image layouts: folders with `index.json` and `blobs/sha256`, as tools
//! write them and as pulled images are kept.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::artifact::{self, ArtifactError, Descriptor, MANIFEST_MAX, Next};
use super::reference::{Digest, Reference};

/// The annotation that holds an entry's tag, or its whole name.
pub(super) const NAME: &str = "org.opencontainers.image.ref.name";

/// Manifests between the index and the component: one index in an index.
const DEPTH_MAX: usize = 2;

/// A layout that was read.
#[derive(Debug)]
pub(super) struct Layout {
    folder: PathBuf,
    index: Index,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    pub(super) schema_version: u32,
    #[serde(default)]
    pub(super) manifests: Vec<Descriptor>,
}

/// A component on disk, and the digest that it must have.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) digest: Option<Digest>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is larger than the {MANIFEST_MAX} bytes of a manifest", path.display())]
    TooLarge { path: PathBuf },
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
    pub(super) fn new(folder: PathBuf, index: Index) -> Self {
        Self { folder, index }
    }

    /// None where there is none.
    pub(super) fn open(folder: PathBuf) -> Result<Option<Self>, LayoutError> {
        let path = folder.join("index.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = read(&path)?;
        let index = serde_json::from_slice(&text);
        let index = index.map_err(|source| LayoutError::Index { path, source })?;
        Ok(Some(Self { folder, index }))
    }

    /// The component that `image` means here: by digest if it has one, else by
    /// tag; a layout with a single entry without a name needs none.
    pub(super) fn find(&self, image: &Reference) -> Result<Found, LayoutError> {
        let entry = match (&image.digest, self.index.manifests.as_slice()) {
            (Some(digest), entries) => entries.iter().find(|entry| entry.digest == digest.as_str()),
            (None, [only]) if !only.annotations.contains_key(NAME) => Some(only),
            (None, entries) => entries.iter().find(|entry| is_tagged(entry, image.tag())),
        };
        match entry {
            Some(entry) => self.component(entry),
            None => Err(self.missing(image)),
        }
    }

    /// The entry of this very name.
    pub(super) fn named(&self, name: &str) -> Option<&Descriptor> {
        let is_named =
            |entry: &&Descriptor| entry.annotations.get(NAME).is_some_and(|it| it == name);
        self.index.manifests.iter().find(is_named)
    }

    /// Follows an entry to its component. Manifests are checked against their
    /// digests here; the component's own is for whoever reads it.
    pub(super) fn component(&self, entry: &Descriptor) -> Result<Found, LayoutError> {
        let mut digest = artifact::digest(entry)?;
        for _ in 0..=DEPTH_MAX {
            let manifest = read(&self.blob(&digest))?;
            if Digest::of(&manifest) != digest {
                return Err(LayoutError::Corrupt { digest });
            }
            match artifact::next(&manifest)? {
                Next::Manifest(next) => digest = next,
                Next::Component(component, _) => {
                    return Ok(Found {
                        path: self.blob(&component),
                        digest: Some(component),
                    });
                }
            }
        }
        Err(LayoutError::Depth)
    }

    pub(super) fn into_index(self) -> Index {
        self.index
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }

    fn missing(&self, image: &Reference) -> LayoutError {
        let wanted = match &image.digest {
            Some(digest) => digest.to_string(),
            None => image.tag().to_owned(),
        };
        let name = |entry: &Descriptor| match (&image.digest, entry.annotations.get(NAME)) {
            (None, Some(name)) => name.clone(),
            _ => entry.digest.clone(),
        };
        LayoutError::Missing {
            folder: self.folder.clone(),
            wanted,
            there: self.index.manifests.iter().map(name).collect(),
        }
    }
}

/// Tools write the tag alone, or the whole name with it.
fn is_tagged(entry: &Descriptor, tag: &str) -> bool {
    let name = entry.annotations.get(NAME);
    name.is_some_and(|name| {
        name == tag
            || name
                .strip_suffix(tag)
                .is_some_and(|rest| rest.ends_with(':'))
    })
}

fn read(path: &Path) -> Result<Vec<u8>, LayoutError> {
    let failed = |source| LayoutError::Read {
        path: path.into(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MANIFEST_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MANIFEST_MAX {
        return Err(LayoutError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}
