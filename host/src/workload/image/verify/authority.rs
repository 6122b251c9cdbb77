//! Whoever may vouch for an image: a key, identities, or a fixed answer.

use super::certificate::{CertificateError, Identity, Roots, Signer};
use super::log::{self, LogError};
use super::public_key::PublicKey;
use super::{Evidence, Signature};

/// An authority of a policy.
#[derive(Debug)]
pub(super) enum Authority {
    Key {
        name: String,
        /// Any of them.
        keys: Vec<PublicKey>,
        /// If not empty, one of these logs must have the signature.
        logs: Vec<PublicKey>,
    },
    /// A certificate of a short-lived key, and a log that knows when it was used.
    Keyless {
        name: String,
        roots: Roots,
        identities: Vec<Identity>,
        logs: Vec<PublicKey>,
    },
    /// Every image passes, or none.
    Static {
        name: String,
        passes: bool,
        message: String,
    },
}

/// Why an authority does not vouch for an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    #[error("there is no signature; {0}")]
    Unsigned(String),
    #[error("none of {count} signatures is valid, the last one because {reason}; {advice}")]
    Invalid {
        count: usize,
        reason: String,
        advice: String,
    },
    #[error("no image passes{0}")]
    Static(String),
}

/// Why a signature does not count.
#[derive(Debug, thiserror::Error)]
enum Invalid {
    #[error("it is not made with this key")]
    Key,
    #[error("it is not made with the key of its certificate")]
    CertificateKey,
    #[error("it is valid, but for another image")]
    OtherImage,
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Authority {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Key { name, .. } | Self::Keyless { name, .. } | Self::Static { name, .. } => name,
        }
    }

    /// # Errors
    /// No signature is valid.
    pub(super) fn vouches(&self, evidence: &Evidence<'_>) -> Result<(), AuthorityError> {
        if let Self::Static {
            passes, message, ..
        } = self
        {
            let message = match message.as_str() {
                "" => String::new(),
                message => format!(": {message}"),
            };
            return passes.then_some(()).ok_or(AuthorityError::Static(message));
        }
        let advice = || evidence.advice.clone();
        let mut outcome = Err(AuthorityError::Unsigned(advice()));
        for signature in &evidence.signatures {
            match self.verify(signature, evidence) {
                Ok(()) => return Ok(()),
                Err(reason) => {
                    outcome = Err(AuthorityError::Invalid {
                        count: evidence.signatures.len(),
                        reason: crate::causes::with_causes(&reason),
                        advice: advice(),
                    });
                }
            }
        }
        outcome
    }

    fn verify(&self, signature: &Signature, evidence: &Evidence<'_>) -> Result<(), Invalid> {
        match self {
            Self::Key { keys, logs, .. } => made_with(keys, logs, signature)?,
            Self::Keyless {
                roots,
                identities,
                logs,
                ..
            } => made_by(roots, identities, logs, signature)?,
            Self::Static { .. } => {}
        }
        match signature.is_about(evidence.subject) {
            true => Ok(()),
            false => Err(Invalid::OtherImage),
        }
    }
}

fn made_with(keys: &[PublicKey], logs: &[PublicKey], signature: &Signature) -> Result<(), Invalid> {
    let made = |key: &&PublicKey| key.verifies(&signature.payload, &signature.signature);
    let key = keys.iter().find(made).ok_or(Invalid::Key)?;
    if !logs.is_empty() {
        let entry = signature.bundle.as_ref().ok_or(LogError::Missing)?;
        entry.verify(logs, signature, log::Signer::Key(key))?;
    }
    Ok(())
}

/// The certificate is verified for the time at which the log received the signature.
fn made_by(
    roots: &Roots,
    identities: &[Identity],
    logs: &[PublicKey],
    signature: &Signature,
) -> Result<(), Invalid> {
    let certificate = signature.certificate.as_deref();
    let signer = Signer::from_pem(certificate.ok_or(CertificateError::Missing)?)?;
    if !signer
        .key
        .verifies(&signature.payload, &signature.signature)
    {
        return Err(Invalid::CertificateKey);
    }
    let entry = signature.bundle.as_ref().ok_or(LogError::Missing)?;
    let logged = log::Signer::Certificate(&signer.certificate);
    let time = entry.verify(logs, signature, logged)?;
    roots.verify(&signer, &signature.chain, time)?;
    signer.is_one_of(identities)?;
    Ok(())
}
