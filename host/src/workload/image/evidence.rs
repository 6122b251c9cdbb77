//! Finds the signatures of an image where the image itself was found: beside a file, in a
//! layout, in a registry.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use galleria_manifest::model::PullPolicy;
use oci_spec::image::Digest;

use super::credentials;
use super::layout::ComponentFile;
use super::reference::Reference;
use super::verify::{Evidence, Signature, SignatureError, Subject};
use super::{ImageError, ImageRequest, Images, Origin, digest};
use crate::guest::{COMPONENT_FILE_MAX, ComponentError};

/// The largest file with a signature. A bundle has a certificate and a log entry.
const SIGNATURE_FILE_MAX: u64 = 256 << 10;

impl Images {
    /// Verifies that the policies for `image` allow `found`. Returns the digest of what was
    /// verified if it is the file itself, which may change before it is loaded.
    ///
    /// # Errors
    /// A policy refuses it, or its signatures cannot be read.
    pub(super) fn verify(
        &self,
        request: &ImageRequest<'_>,
        image: &Reference,
        found: &ComponentFile,
        origin: &Origin,
    ) -> Result<Option<Digest>, ImageError> {
        if !self.policies.cover(image) {
            return Ok(None);
        }
        match origin {
            Origin::File => self.verify_file(request, image, &found.path).map(Some),
            Origin::Layout(layout) => {
                let signatures = layout.signatures(&found.manifests);
                let signatures = signatures.map_err(|source| ImageError::Layout {
                    image: request.image.into(),
                    source,
                })?;
                let advice = "copy it with its signatures, with `cosign save`";
                let evidence = of_manifests(&found.manifests, signatures, advice);
                self.judge(request, image, &evidence, false)?;
                Ok(None)
            }
            Origin::Registry(host) => {
                self.verify_pulled(request, image, host, &found.manifests)?;
                Ok(None)
            }
        }
    }

    /// Signatures that were fetched before are tried first, so that a registry that is
    /// unavailable stops no verified image.
    fn verify_pulled(
        &self,
        request: &ImageRequest<'_>,
        image: &Reference,
        host: &str,
        manifests: &[Digest],
    ) -> Result<(), ImageError> {
        let stored = || {
            let signatures = self.registries.signatures(manifests);
            let advice = "sign it with `cosign sign --new-bundle-format=false`";
            of_manifests(manifests, signatures, advice)
        };
        if self.policies.are_satisfied(image, &stored()) {
            return Ok(());
        }
        let fetched = if request.policy == Some(PullPolicy::Never) {
            Ok(())
        } else {
            let secrets = request.pull_secrets.iter().copied();
            let logins = credentials::logins(image, secrets);
            self.registries
                .fetch_signatures(image, host, manifests, &logins)
        };
        let evidence = stored();
        match (self.judge(request, image, &evidence, true), fetched) {
            (Err(_), Err(source)) if evidence.signatures.is_empty() => {
                Err(ImageError::Signatures {
                    image: request.image.into(),
                    source,
                })
            }
            (judged, _) => judged,
        }
    }

    fn judge(
        &self,
        request: &ImageRequest<'_>,
        image: &Reference,
        evidence: &Evidence<'_>,
        is_transient: bool,
    ) -> Result<(), ImageError> {
        let verified = self.policies.verify(image, evidence);
        verified.map_err(|source| ImageError::Refused {
            image: request.image.into(),
            source,
            is_transient,
        })
    }

    fn verify_file(
        &self,
        request: &ImageRequest<'_>,
        image: &Reference,
        path: &Path,
    ) -> Result<Digest, ImageError> {
        let content = content(path).map_err(|source| ImageError::Component {
            image: request.image.into(),
            source: ComponentError::Read {
                path: path.into(),
                source,
            },
        })?;
        let digest = digest::of(&content);
        let signatures = beside(path, &content);
        let signatures = signatures.map_err(|(path, source)| ImageError::SignatureFile {
            image: request.image.into(),
            path,
            source,
        })?;
        let file = path.display();
        let evidence = Evidence {
            subject: Subject::Content,
            signatures,
            advice: format!(
                "sign the file with `cosign sign-blob --key KEY --output-signature {file}.sig {file}`"
            ),
        };
        self.judge(request, image, &evidence, false)?;
        Ok(digest)
    }
}

fn of_manifests<'a>(
    manifests: &'a [Digest],
    signatures: Vec<Signature>,
    advice: &str,
) -> Evidence<'a> {
    Evidence {
        subject: Subject::Manifests(manifests),
        signatures,
        advice: advice.into(),
    }
}

fn content(path: &Path) -> io::Result<Arc<[u8]>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    file.take(COMPONENT_FILE_MAX + 1)
        .read_to_end(&mut content)?;
    Ok(content.into())
}

/// The signatures in `PATH.sig` and `PATH.bundle`.
fn beside(path: &Path, content: &Arc<[u8]>) -> Result<Vec<Signature>, (PathBuf, SignatureError)> {
    let mut found = Vec::new();
    for (extension, is_bundle) in [("sig", false), ("bundle", true)] {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        let path = PathBuf::from(name);
        let is_small =
            |path: &Path| fs::metadata(path).is_ok_and(|it| it.len() <= SIGNATURE_FILE_MAX);
        if !is_small(&path) {
            continue;
        }
        let Ok(text) = fs::read(&path) else { continue };
        let content = content.clone();
        let read = match is_bundle {
            true => Signature::from_bundle(content, &text),
            false => Signature::from_file(content, &String::from_utf8_lossy(&text)),
        };
        found.push(read.map_err(|source| (path, source))?);
    }
    Ok(found)
}
