//! Entries of the transparency log Rekor: the proof that a signature existed at some time.
//!
//! The log signs each entry together with its time. That signature is verified with the log's
//! key, so the log need not be reached.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::public_key::{PublicKey, hexadecimal};
use super::signature::Signature;

/// An entry with the log's signature.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LogBundle {
    /// base64.
    #[serde(rename = "SignedEntryTimestamp")]
    timestamp: String,
    #[serde(rename = "Payload")]
    entry: LogEntry,
}

/// What the log signs, as canonical JSON: the fields are in alphabetical order.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct LogEntry {
    /// The base64 of a [`HashedRekord`].
    body: String,
    #[serde(rename = "integratedTime")]
    integrated_time: i64,
    #[serde(rename = "logID")]
    log_id: String,
    #[serde(rename = "logIndex")]
    log_index: i64,
}

/// A signature in the log.
#[derive(Deserialize)]
struct HashedRekord {
    kind: String,
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    data: Data,
    signature: LoggedSignature,
}

#[derive(Deserialize)]
struct Data {
    hash: Hash,
}

#[derive(Deserialize)]
struct Hash {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct LoggedSignature {
    content: String,
    #[serde(rename = "publicKey")]
    public_key: LoggedKey,
}

#[derive(Deserialize)]
struct LoggedKey {
    content: String,
}

/// Who made a signature, as the log knows it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signer<'a> {
    /// A certificate, in DER.
    Certificate(&'a [u8]),
    Key(&'a PublicKey),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(
        "it has no entry of a transparency log (`dev.sigstore.cosign/bundle`); sign it with `cosign sign --tlog-upload=true`"
    )]
    Missing,
    #[error("its entry of the transparency log is malformed")]
    Malformed,
    #[error("its log entry is of log {0}, whose key the policy does not have")]
    UnknownLog(String),
    #[error("its log entry is not signed by that log")]
    Forged,
    #[error("its log entry is about another signature")]
    Other,
}

impl LogBundle {
    /// # Errors
    /// It is malformed.
    pub(super) fn parse(text: &str) -> Result<Self, LogError> {
        serde_json::from_str(text).map_err(|_| LogError::Malformed)
    }

    /// Verifies that one of `logs` has the signature, made by `signer`. Returns when the log
    /// received it, in seconds since 1970.
    ///
    /// # Errors
    /// See [`LogError`].
    pub(super) fn verify(
        &self,
        logs: &[PublicKey],
        signature: &Signature,
        signer: Signer<'_>,
    ) -> Result<i64, LogError> {
        let entry = &self.entry;
        let log = logs.iter().find(|log| log.fingerprint() == entry.log_id);
        let log = log.ok_or_else(|| LogError::UnknownLog(entry.log_id.clone()))?;
        let signed = serde_json::to_vec(entry).map_err(|_| LogError::Malformed)?;
        let timestamp = BASE64_STANDARD.decode(&self.timestamp);
        let timestamp = timestamp.map_err(|_| LogError::Malformed)?;
        if !log.verifies(&signed, &timestamp) {
            return Err(LogError::Forged);
        }
        let body = BASE64_STANDARD.decode(&entry.body).ok();
        let body = body.and_then(|body| serde_json::from_slice::<HashedRekord>(&body).ok());
        let body = body.ok_or(LogError::Malformed)?;
        match body.is_about(signature, signer) {
            true => Ok(entry.integrated_time),
            false => Err(LogError::Other),
        }
    }
}

impl HashedRekord {
    fn is_about(&self, signature: &Signature, signer: Signer<'_>) -> bool {
        let Spec {
            data: Data { hash },
            signature: logged,
        } = &self.spec;
        let decoded = |text: &str| BASE64_STANDARD.decode(text).unwrap_or_default();
        let key = decoded(&logged.public_key.content);
        let is_signer = match signer {
            Signer::Certificate(certificate) => {
                CertificateDer::from_pem_slice(&key).is_ok_and(|it| it.as_ref() == certificate)
            }
            Signer::Key(known) => {
                SubjectPublicKeyInfoDer::from_pem_slice(&key).is_ok_and(|it| *it == *known.info())
            }
        };
        self.kind == "hashedrekord"
            && hash.algorithm == "sha256"
            && hash.value == hexadecimal(&Sha256::digest(&signature.payload))
            && decoded(&logged.content) == signature.signature
            && is_signer
    }
}
