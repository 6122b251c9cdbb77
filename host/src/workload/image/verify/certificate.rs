//! Certificates of signers: short-lived, issued by Fulcio to whoever signed in at an identity
//! provider.

use std::time::Duration;

use regex::Regex;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::asn1_rs::Utf8String;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::public_key::PublicKey;

/// The extensions in which Fulcio puts the identity provider: as DER, and, older, as bare text.
const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
const ISSUER_OLD: &str = "1.3.6.1.4.1.57264.1.1";

/// `id-kp-codeSigning`, 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// Authorities that issue certificates for signers.
#[derive(Debug, Clone)]
pub(super) struct Roots {
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

/// An identity that may sign.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) issuer: Pattern,
    pub(super) subject: Pattern,
}

#[derive(Debug)]
pub(super) enum Pattern {
    Exactly(String),
    /// Matches anywhere in the text, as in cosign; `^` and `$` bind it to the ends.
    Matching(Regex),
}

/// A certificate that was verified, and what it says.
#[derive(Debug)]
pub(super) struct Signer {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PublicKey,
    issuer: String,
    subjects: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("it has no certificate (`dev.sigstore.cosign/certificate`); a key made it")]
    Missing,
    #[error("its certificate cannot be read")]
    Malformed,
    #[error("its certificate is not for code signing")]
    Usage,
    #[error(
        "its certificate is not valid at the time of the log entry, or not issued by an authority of the policy"
    )]
    Untrusted(#[source] webpki::Error),
    #[error("it is made by `{subjects}` of `{issuer}`, who is none of the policy's identities")]
    Identity { subjects: String, issuer: String },
}

impl Roots {
    /// From certificates in PEM. Those that are signed by themselves are trusted; if there is
    /// none, the last one is. `None` if a certificate is malformed, or there is none.
    pub(super) fn from_pem(text: &[u8]) -> Option<Self> {
        let all = CertificateDer::pem_slice_iter(text);
        let all: Vec<CertificateDer<'static>> = all.collect::<Result<_, _>>().ok()?;
        let mut roots = Vec::new();
        let mut intermediates = Vec::new();
        for certificate in all {
            let (_, parsed) = X509Certificate::from_der(&certificate).ok()?;
            match parsed.subject() == parsed.issuer() {
                true => roots.push(certificate),
                false => intermediates.push(certificate),
            }
        }
        if roots.is_empty() {
            roots.extend(intermediates.pop());
        }
        let anchors = roots.iter().map(|root| {
            let anchor = anchor_from_trusted_cert(root).ok();
            anchor.map(|anchor| anchor.to_owned())
        });
        let anchors = anchors.collect::<Option<Vec<_>>>()?;
        (!anchors.is_empty()).then_some(Self {
            anchors,
            intermediates,
        })
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.anchors.extend(other.anchors);
        self.intermediates.extend(other.intermediates);
    }

    /// Whether the signer's certificate was valid at `seconds` since 1970. `chain` has further
    /// certificates, in PEM.
    pub(super) fn verify(
        &self,
        signer: &Signer,
        chain: &str,
        seconds: i64,
    ) -> Result<(), CertificateError> {
        let mut intermediates = self.intermediates.clone();
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes());
        intermediates.extend(chain.map_while(Result::ok));
        let certificate = EndEntityCert::try_from(&signer.certificate);
        let certificate = certificate.map_err(CertificateError::Untrusted)?;
        let since_1970 = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        certificate
            .verify_for_usage(
                default_provider().signature_verification_algorithms.all,
                &self.anchors,
                &intermediates,
                UnixTime::since_unix_epoch(since_1970),
                KeyUsage::required_if_present(CODE_SIGNING),
                None,
                None,
            )
            .map_err(CertificateError::Untrusted)?;
        Ok(())
    }
}

impl Signer {
    /// Reads a certificate, without trusting it.
    ///
    /// # Errors
    /// It is malformed, or not for code signing.
    pub(super) fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let certificate = CertificateDer::from_pem_slice(text.as_bytes());
        let certificate = certificate.map_err(|_| CertificateError::Malformed)?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| CertificateError::Malformed)?;
        let usage = parsed.extended_key_usage().ok().flatten();
        if !usage.is_some_and(|usage| usage.value.code_signing) {
            return Err(CertificateError::Usage);
        }
        let key = PublicKey::from_der(parsed.public_key().raw);
        Ok(Self {
            key: key.map_err(|_| CertificateError::Malformed)?,
            issuer: issuer(&parsed),
            subjects: subjects(&parsed),
            certificate: certificate.clone(),
        })
    }

    /// # Errors
    /// The signer is none of them.
    pub(super) fn is_one_of(&self, identities: &[Identity]) -> Result<(), CertificateError> {
        let is_signer = |identity: &Identity| {
            let mut subjects = self.subjects.iter();
            identity.issuer.matches(&self.issuer)
                && subjects.any(|subject| identity.subject.matches(subject))
        };
        match identities.iter().any(is_signer) {
            true => Ok(()),
            false => Err(CertificateError::Identity {
                subjects: self.subjects.join("`, `"),
                issuer: self.issuer.clone(),
            }),
        }
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exactly(expected) => expected == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }
}

/// Empty if the certificate names no identity provider.
fn issuer(certificate: &X509Certificate<'_>) -> String {
    let extension = |oid: &str| {
        let mut extensions = certificate.extensions().iter();
        let found = extensions.find(|it| it.oid.to_id_string() == oid);
        found.map(|it| it.value)
    };
    let text = |der| {
        Utf8String::from_der(der)
            .ok()
            .map(|(_, text)| text.string())
    };
    let new = extension(ISSUER).and_then(text);
    let old = || extension(ISSUER_OLD).and_then(|it| String::from_utf8(it.to_vec()).ok());
    new.or_else(old).unwrap_or_default()
}

/// The e-mail addresses and URIs that the certificate was issued for.
fn subjects(certificate: &X509Certificate<'_>) -> Vec<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|it| it.value.general_names.as_slice());
    let text = |name: &GeneralName<'_>| match name {
        GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        _ => None,
    };
    names.unwrap_or_default().iter().filter_map(text).collect()
}
