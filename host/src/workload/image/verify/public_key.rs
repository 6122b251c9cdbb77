//! Public keys: ECDSA on P-256 and P-384, RSA and Ed25519.
//!
//! Versions of cosign differ in the hash that they use with P-384, so both are tried. Ed25519
//! is the plain one of RFC 8032, not Ed25519ph.

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

type Algorithms = &'static [&'static dyn VerificationAlgorithm];

static P256: Algorithms = &[&ECDSA_P256_SHA256_ASN1];
static P384: Algorithms = &[&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1];
static RSA: Algorithms = &[&RSA_PKCS1_2048_8192_SHA256];
static ED: Algorithms = &[&ED25519];

/// A key that verifies signatures.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    /// One of them has to verify the signature.
    algorithms: Algorithms,
    key: Vec<u8>,
    /// The whole `SubjectPublicKeyInfo`, in DER.
    info: Vec<u8>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum KeyError {
    #[error("it is not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)")]
    Pem,
    #[error("it is a private key; a policy needs the public one, such as `cosign.pub`")]
    Private,
    #[error("its algorithm is not supported; use ECDSA with P-256 or P-384, RSA or Ed25519")]
    Algorithm,
}

impl PublicKey {
    /// All keys of a PEM text.
    ///
    /// # Errors
    /// There is none, or one that is not supported.
    pub(super) fn from_pem(text: &[u8]) -> Result<Vec<Self>, KeyError> {
        if String::from_utf8_lossy(text).contains("PRIVATE KEY-----") {
            return Err(KeyError::Private);
        }
        let keys: Result<Vec<_>, _> = SubjectPublicKeyInfoDer::pem_slice_iter(text).collect();
        let keys = keys.map_err(|_| KeyError::Pem)?;
        if keys.is_empty() {
            return Err(KeyError::Pem);
        }
        keys.iter().map(|key| Self::from_der(key)).collect()
    }

    /// # Errors
    /// The key is malformed, or of an algorithm that is not supported.
    pub(super) fn from_der(info: &[u8]) -> Result<Self, KeyError> {
        let (rest, parsed) = SubjectPublicKeyInfo::from_der(info).map_err(|_| KeyError::Pem)?;
        if !rest.is_empty() {
            return Err(KeyError::Pem);
        }
        let parameter = parsed.algorithm.parameters.as_ref();
        let curve = parameter.and_then(|it| it.as_oid().ok());
        let curve = curve.map(|it| it.to_id_string());
        let algorithms = match (
            parsed.algorithm.algorithm.to_id_string().as_str(),
            curve.as_deref(),
        ) {
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => P256,
            ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => P384,
            ("1.2.840.113549.1.1.1", _) => RSA,
            ("1.3.101.112", _) => ED,
            _ => return Err(KeyError::Algorithm),
        };
        Ok(Self {
            algorithms,
            key: parsed.subject_public_key.data.to_vec(),
            info: info.to_vec(),
        })
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithms.iter().any(|algorithm| {
            let key = UnparsedPublicKey::new(*algorithm, &self.key);
            key.verify(message, signature).is_ok()
        })
    }

    pub(super) fn info(&self) -> &[u8] {
        &self.info
    }

    /// The SHA-256 hash of the key, in hexadecimal: how Rekor names a log.
    pub(super) fn fingerprint(&self) -> String {
        hexadecimal(&Sha256::digest(&self.info))
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
