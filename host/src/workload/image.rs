//! Resolves an `image:` to a component.
//!
//! The folder `--components` is searched first, by the last part of the image's name:
//! `NAME/TAG.wasm`, `NAME.wasm`, then the OCI image layout `NAME`. An image that is not
//! there is pulled if it names the host of a registry; there is no default registry. A
//! pinned digest is checked in all cases, and signatures where a policy requires them.

mod artifact;
mod credentials;
mod digest;
mod distribution;
mod evidence;
mod layout;
mod pulled;
mod reference;
mod registry;
mod verify;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use galleria_manifest::model::PullPolicy;
use oci_spec::image::Digest;
use parking_lot::Mutex;

use crate::guest::{Cache, Component, ComponentError, Engine};
use crate::settings::image::RegistrySettings;
use crate::telemetry::metrics::ComponentLoads;
use crate::telemetry::trace::control::{ControlSpan, control_span};
use crate::telemetry::trace::{attributes, spans};
use layout::{ComponentFile, Layout, LayoutError};
use reference::Reference;
use registry::{PullError, Registries};
use verify::{Refusal, SignatureError};

pub(crate) use verify::ImagePolicies;

/// Loads components, each once, and again when its file changes.
pub(crate) struct Images {
    engine: Engine,
    cache: Cache,
    folder: PathBuf,
    registries: Registries,
    policies: ImagePolicies,
    loaded: Mutex<HashMap<PathBuf, (Fingerprint, Arc<Component>)>>,
    loads: ComponentLoads,
}

/// A container's request for an image.
pub(crate) struct ImageRequest<'a> {
    pub image: &'a str,
    pub policy: Option<PullPolicy>,
    /// The `.dockerconfigjson` of each pull secret.
    pub pull_secrets: Vec<&'a [u8]>,
}

/// Where an image was found.
enum Origin {
    /// A file of its own in the components folder.
    File,
    /// A layout in the components folder.
    Layout(Box<Layout>),
    /// The registry with this host.
    Registry(String),
}

/// Detects that a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    size: u64,
    modified: Option<SystemTime>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(
        "image `{image}` is not in the components folder: neither `{}` nor `{}` exists; build it into that folder (`--components`), add the host of a registry that has it, or declare a service that runs elsewhere with a ServiceEntry",
        tagged.display(), plain.display()
    )]
    Missing {
        image: String,
        tagged: PathBuf,
        plain: PathBuf,
    },
    #[error(
        "image `{image}` is not a valid image name; write `[host/][repository/]name[:tag][@sha256:digest]`"
    )]
    Name { image: String },
    #[error("image `{image}` is not in its OCI layout in the components folder")]
    Layout { image: String, source: LayoutError },
    #[error("image `{image}` cannot be pulled")]
    Pull { image: String, source: PullError },
    #[error(
        "image `{image}` is found as `{}`, whose content is {found}; correct the digest, or remove the file",
        path.display()
    )]
    Digest {
        image: String,
        path: PathBuf,
        found: Digest,
    },
    #[error("image `{image}` is not started")]
    Refused {
        image: String,
        source: Refusal,
        /// A signature may be added to the registry later.
        is_transient: bool,
    },
    #[error("image `{image}` is not started: its signatures cannot be fetched")]
    Signatures { image: String, source: PullError },
    #[error("image `{image}` is not started: its signature `{}` cannot be read", path.display())]
    SignatureFile {
        image: String,
        path: PathBuf,
        source: SignatureError,
    },
    #[error("image `{image}` cannot run here")]
    Component {
        image: String,
        source: ComponentError,
    },
}

impl ImageError {
    /// Whether a later attempt may succeed without a change of the configuration.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Pull { source, .. } | Self::Signatures { source, .. } => source.is_transient(),
            Self::Refused { is_transient, .. } => *is_transient,
            _ => false,
        }
    }
}

impl Images {
    /// `pulled` is the folder that stores components from registries.
    pub(crate) fn new(
        engine: Engine,
        cache: Cache,
        folder: PathBuf,
        registries: RegistrySettings,
        policies: ImagePolicies,
        pulled: PathBuf,
        loads: ComponentLoads,
    ) -> Self {
        Self {
            engine,
            cache,
            folder,
            registries: Registries::new(registries, pulled),
            policies,
            loaded: Mutex::default(),
            loads,
        }
    }

    /// Finds, verifies and loads the component of an image. Pulls it from its registry, and
    /// compiles it if the cache does not have it. Blocks: call it outside of asynchronous tasks, but with
    /// access to the runtime.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub(crate) fn load(&self, request: &ImageRequest<'_>) -> Result<Arc<Component>, ImageError> {
        let image = request.image;
        let reference = Reference::parse(image).ok_or_else(|| ImageError::Name {
            image: image.into(),
        })?;
        let (file, origin) = self.find(request, &reference)?;
        let verified = self.verify(request, &reference, &file, &origin)?;
        let ComponentFile { path, digest, .. } = file;
        let component = self.load_file(image, &path)?;
        let found = digest::from_hash(&component.digest());
        if [digest, verified].iter().flatten().any(|it| *it != found) {
            let image = image.into();
            return Err(ImageError::Digest { image, path, found });
        }
        Ok(component)
    }

    fn load_file(&self, image: &str, path: &Path) -> Result<Arc<Component>, ImageError> {
        let failed = |source| ImageError::Component {
            image: image.into(),
            source,
        };
        let metadata = fs::metadata(path).map_err(|source| {
            failed(ComponentError::Read {
                path: path.into(),
                source,
            })
        })?;
        let fingerprint = Fingerprint {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        };
        let known = self.loaded.lock().get(path).cloned();
        if let Some((loaded, component)) = known
            && loaded == fingerprint
        {
            return Ok(component);
        }
        let span = control_span!(spans::LOAD);
        span.describe(attributes::IMAGE, image);
        let component = Component::load(&self.engine, &self.cache, path);
        let component = component.inspect_err(|error| span.fail("InvalidComponent", error));
        let component = Arc::new(component.map_err(failed)?);
        match component.compiled_in() {
            Some(took) => {
                span.set(attributes::RESULT, "compiled");
                self.loads.compiled.inc();
                tracing::info!(image, seconds = took.as_secs_f32(), "compiled");
            }
            None => {
                span.set(attributes::RESULT, "cached");
                self.loads.cached.inc();
            }
        }
        let mut loaded = self.loaded.lock();
        loaded.insert(path.into(), (fingerprint, component.clone()));
        Ok(component)
    }

    fn find(
        &self,
        request: &ImageRequest<'_>,
        reference: &Reference,
    ) -> Result<(ComponentFile, Origin), ImageError> {
        let image = || request.image.to_owned();
        let folder = self.folder.join(reference.name());
        let tagged = folder.join(format!("{}.wasm", reference.tag()));
        let plain = self.folder.join(format!("{}.wasm", reference.name()));
        for path in [&tagged, &plain] {
            if path.is_file() {
                let file = ComponentFile {
                    path: path.clone(),
                    digest: reference.digest.clone(),
                    manifests: Vec::new(),
                };
                return Ok((file, Origin::File));
            }
        }
        let found = Layout::open(folder).and_then(|layout| {
            let found = layout.map(|layout| layout.find(reference).map(|file| (file, layout)));
            found.transpose()
        });
        match (found, &reference.host) {
            (Ok(Some((file, layout))), _) => Ok((file, Origin::Layout(Box::new(layout)))),
            (Err(source), _) => Err(ImageError::Layout {
                image: image(),
                source,
            }),
            (Ok(None), Some(host)) => {
                let secrets = request.pull_secrets.iter().copied();
                let logins = credentials::logins(reference, secrets);
                self.registries
                    .pull(reference, host, request.policy, &logins)
                    .map(|file| (file, Origin::Registry(host.clone())))
                    .map_err(|source| ImageError::Pull {
                        image: image(),
                        source,
                    })
            }
            (Ok(None), None) => Err(ImageError::Missing {
                image: image(),
                tagged,
                plain,
            }),
        }
    }
}
