//! The private key of an authority.

use std::sync::Arc;

use rcgen::{PublicKeyData, SignatureAlgorithm, SigningKey};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;

use super::failure::Fault;

/// The schemes with which an authority signs, for each kind of key.
const SCHEMES: &[(SignatureScheme, &SignatureAlgorithm)] = &[
    (
        SignatureScheme::ECDSA_NISTP256_SHA256,
        &rcgen::PKCS_ECDSA_P256_SHA256,
    ),
    (
        SignatureScheme::ECDSA_NISTP384_SHA384,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    ),
    (SignatureScheme::ED25519, &rcgen::PKCS_ED25519),
    (SignatureScheme::RSA_PKCS1_SHA256, &rcgen::PKCS_RSA_SHA256),
];

/// A private key that signs certificates. rustls reads every form that is used for PEM files
/// (PKCS #8, PKCS #1 and SEC 1).
pub(super) struct AuthorityKey {
    signer: Arc<dyn rustls::sign::SigningKey>,
    scheme: SignatureScheme,
    algorithm: &'static SignatureAlgorithm,
    /// The bits of the public key, as they are in the certificate.
    public_key: Vec<u8>,
}

impl AuthorityKey {
    /// `public_key` are the bits of the public key in the certificate of the authority.
    ///
    /// # Errors
    /// The kind of key is not supported.
    pub(super) fn new(key: &PrivateKeyDer<'_>, public_key: &[u8]) -> Result<Self, Fault> {
        let signer = any_supported_type(key).map_err(Fault::Key)?;
        let supported = |(scheme, _): &&(SignatureScheme, _)| {
            signer.choose_scheme(std::slice::from_ref(scheme)).is_some()
        };
        let (scheme, algorithm) = SCHEMES.iter().find(supported).ok_or(Fault::KeyKind)?;
        Ok(Self {
            scheme: *scheme,
            algorithm,
            public_key: public_key.to_vec(),
            signer,
        })
    }

    pub(super) fn signer(&self) -> &Arc<dyn rustls::sign::SigningKey> {
        &self.signer
    }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        &self.public_key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signer = self.signer.choose_scheme(&[self.scheme]);
        let signer = signer.ok_or(rcgen::Error::UnsupportedSignatureAlgorithm)?;
        signer
            .sign(message)
            .map_err(|_| rcgen::Error::RingUnspecified)
    }
}
