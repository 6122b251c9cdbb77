//! From an `image:` to a component on disk.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::guest::{Cache, Component, ComponentError, Engine};

/// Components by image name, loaded once and again when their file changes.
pub(crate) struct Images {
    engine: Engine,
    cache: Cache,
    folder: PathBuf,
    loaded: Mutex<HashMap<PathBuf, (Fingerprint, Arc<Component>)>>,
}

/// What tells that a file is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    size: u64,
    modified: Option<SystemTime>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(
        "image `{image}` is not in the components folder: neither `{}` nor `{}` exists; build it into that folder (`--components`), or describe a service that runs elsewhere with a ServiceEntry",
        tagged.display(), plain.display()
    )]
    Missing {
        image: String,
        tagged: PathBuf,
        plain: PathBuf,
    },
    #[error(
        "image `{image}` is not a name that this host can look up; write `[repository/]name[:tag]`"
    )]
    Name { image: String },
    #[error("image `{image}` cannot run here")]
    Component {
        image: String,
        source: ComponentError,
    },
}

impl Images {
    pub(crate) fn new(engine: Engine, cache: Cache, folder: PathBuf) -> Self {
        Self {
            engine,
            cache,
            folder,
            loaded: Mutex::default(),
        }
    }

    /// Finds and loads the component of `image`: `NAME/TAG.wasm`, else `NAME.wasm`,
    /// where NAME is the last part of the image's name. Compiles when the cache
    /// does not have it, which may take seconds: not for an asynchronous task.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub(crate) fn load(&self, image: &str) -> Result<Arc<Component>, ImageError> {
        let path = self.find(image)?;
        let failed = |source| ImageError::Component {
            image: image.into(),
            source,
        };
        let metadata = fs::metadata(&path).map_err(|source| {
            failed(ComponentError::Read {
                path: path.clone(),
                source,
            })
        })?;
        let fingerprint = Fingerprint {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        };
        let known = self
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&path)
            .cloned();
        if let Some((loaded, component)) = known
            && loaded == fingerprint
        {
            return Ok(component);
        }
        let component =
            Arc::new(Component::load(&self.engine, &self.cache, &path).map_err(failed)?);
        if let Some(took) = component.compiled_in() {
            tracing::info!(image, seconds = took.as_secs_f32(), "compiled");
        }
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.insert(path, (fingerprint, component.clone()));
        Ok(component)
    }

    fn find(&self, image: &str) -> Result<PathBuf, ImageError> {
        let (name, tag) = name_and_tag(image).ok_or_else(|| ImageError::Name {
            image: image.into(),
        })?;
        let plain = self.folder.join(format!("{name}.wasm"));
        let tagged = self
            .folder
            .join(name)
            .join(format!("{}.wasm", tag.unwrap_or("latest")));
        if tagged.is_file() {
            Ok(tagged)
        } else if plain.is_file() {
            Ok(plain)
        } else {
            Err(ImageError::Missing {
                image: image.into(),
                tagged,
                plain,
            })
        }
    }
}

/// The last part of the name, and the tag; a digest is cut off. None where
/// either could lead out of the folder.
fn name_and_tag(image: &str) -> Option<(&str, Option<&str>)> {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let last = image.rsplit('/').next().unwrap_or(image);
    let (name, tag) = match last.split_once(':') {
        Some((name, tag)) => (name, Some(tag)),
        None => (last, None),
    };
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    (plain(name) && tag.is_none_or(plain)).then_some((name, tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_part_of_the_name_and_the_tag_decide() {
        assert_eq!(name_and_tag("galleria/ui:v1"), Some(("ui", Some("v1"))));
        assert_eq!(name_and_tag("localhost:5000/shop/ui"), Some(("ui", None)));
        assert_eq!(
            name_and_tag("shop/ui:v1@sha256:abc"),
            Some(("ui", Some("v1")))
        );
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for image in ["", "shop/", "shop/..", "shop/ui:..", "ui:", ".hidden:v1"] {
            assert_eq!(name_and_tag(image), None, "{image}");
        }
    }
}
