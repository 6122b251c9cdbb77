//! A signature, in one of the forms that cosign writes: a layer of a signature image, or files
//! beside a component.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use oci_spec::image::Digest;
use serde::Deserialize;

use super::log::{LogBundle, LogError};

/// Annotations of a layer that holds a signed document.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const CHAIN: &str = "dev.sigstore.cosign/chain";
const BUNDLE: &str = "dev.sigstore.cosign/bundle";

/// The type that cosign writes into the document.
const SIMPLE_SIGNING: &str = "cosign container image signature";

/// What has to be signed.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Subject<'a> {
    /// A document that names one of these digests: the manifest of the image, or an index that
    /// leads to it.
    Manifests(&'a [Digest]),
    /// The signed bytes themselves.
    Content,
}

/// One signature, not verified yet.
#[derive(Debug, Clone)]
pub(in super::super) struct Signature {
    /// The signed bytes.
    pub(super) payload: Arc<[u8]>,
    pub(super) signature: Vec<u8>,
    /// Certificates in PEM: the signer's, and those that issued it.
    pub(super) certificate: Option<String>,
    pub(super) chain: String,
    /// The entry of the transparency log.
    pub(super) bundle: Option<LogBundle>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("it has no annotation `{SIGNATURE}`")]
    Missing,
    #[error("it is not valid base64")]
    Base64(#[from] base64::DecodeError),
    #[error(
        "its bundle cannot be read; write it with `cosign sign-blob --new-bundle-format=false --bundle`"
    )]
    Bundle(#[from] serde_json::Error),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// The document that cosign signs for an image.
#[derive(Deserialize)]
struct SimpleSigning {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: SignedImage,
}

#[derive(Deserialize)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// The file of `cosign sign-blob --bundle`.
#[derive(Deserialize)]
struct BlobBundle {
    #[serde(rename = "base64Signature")]
    signature: String,
    #[serde(default)]
    cert: String,
    #[serde(rename = "rekorBundle")]
    log: Option<LogBundle>,
}

impl Signature {
    /// Reads a layer of a signature image.
    ///
    /// # Errors
    /// An annotation is missing or malformed.
    pub(in super::super) fn from_layer(
        payload: Vec<u8>,
        annotations: &HashMap<String, String>,
    ) -> Result<Self, SignatureError> {
        let annotation = |name: &str| annotations.get(name).filter(|it| !it.is_empty());
        let signature = annotation(SIGNATURE).ok_or(SignatureError::Missing)?;
        let bundle = annotation(BUNDLE).map(|text| LogBundle::parse(text));
        Ok(Self {
            payload: payload.into(),
            signature: BASE64_STANDARD.decode(signature.trim())?,
            certificate: annotation(CERTIFICATE).cloned(),
            chain: annotation(CHAIN).cloned().unwrap_or_default(),
            bundle: bundle.transpose()?,
        })
    }

    /// Reads `FILE.sig`: the signature of a file in base64.
    ///
    /// # Errors
    /// It is not base64.
    pub(in super::super) fn from_file(
        content: Arc<[u8]>,
        signature: &str,
    ) -> Result<Self, SignatureError> {
        Ok(Self {
            payload: content,
            signature: BASE64_STANDARD.decode(signature.trim())?,
            certificate: None,
            chain: String::new(),
            bundle: None,
        })
    }

    /// Reads `FILE.bundle`: a signature with its certificate and its log entry.
    ///
    /// # Errors
    /// It is malformed.
    pub(in super::super) fn from_bundle(
        content: Arc<[u8]>,
        bundle: &[u8],
    ) -> Result<Self, SignatureError> {
        let BlobBundle {
            signature,
            cert,
            log,
        } = serde_json::from_slice(bundle)?;
        let certificate = match cert.trim() {
            "" => None,
            pem if pem.starts_with("-----") => Some(pem.to_owned()),
            encoded => {
                let pem = BASE64_STANDARD.decode(encoded)?;
                // A key instead of a certificate stands here if a key made the signature.
                let pem = String::from_utf8_lossy(&pem).into_owned();
                Some(pem).filter(|pem| pem.contains("CERTIFICATE-----"))
            }
        };
        Ok(Self {
            payload: content,
            signature: BASE64_STANDARD.decode(signature.trim())?,
            certificate,
            chain: String::new(),
            bundle: log,
        })
    }

    /// Whether the signed bytes are about `subject`. Only meaningful once the signature is
    /// verified.
    pub(super) fn is_about(&self, subject: Subject<'_>) -> bool {
        let Subject::Manifests(digests) = subject else {
            return true;
        };
        let signed = serde_json::from_slice::<SimpleSigning>(&self.payload);
        signed.is_ok_and(|SimpleSigning { critical }| {
            let names = |digest: &Digest| digest.to_string() == critical.image.digest;
            critical.kind == SIMPLE_SIGNING && digests.iter().any(names)
        })
    }
}
