//! Policies about the signatures of images, in the form of sigstore's policy-controller, and
//! signatures in the form of cosign.
//!
//! An image that policies cover needs, for each of them, a valid signature of one of the
//! policy's authorities. Keys and certificates come from the files of `--verify-images` only:
//! there is no network access here, and an object that is applied while the host runs cannot
//! change a policy.
//!
//! The crate `sigstore` is not used: it brings its own clients for registries, Fulcio and Rekor
//! and some 200 further crates, whereas verification needs what TLS needs too: `ring`, `webpki`
//! and `x509-parser`.

mod authority;
mod certificate;
mod glob;
mod log;
mod public_key;
mod read;
mod signature;

use super::reference::Reference;
use authority::{Authority, AuthorityError};
use glob::Glob;

pub(super) use signature::{Signature, SignatureError, Subject};

/// Signatures of one image that are tried. Each is one public-key operation per authority.
pub(super) const SIGNATURES_MAX: usize = 64;

/// The largest signed document, in bytes: digest, name and annotations of an image.
pub(super) const PAYLOAD_MAX: u64 = 64 << 10;

/// The policies of `--verify-images`.
#[derive(Debug, Default)]
pub(crate) struct ImagePolicies {
    policies: Vec<ImagePolicy>,
}

/// Which images must be signed, and by whom.
#[derive(Debug)]
struct ImagePolicy {
    name: String,
    /// The file that contains it, for messages.
    file: String,
    images: Vec<Glob>,
    authorities: Vec<Authority>,
    /// Log instead of refusing.
    only_warns: bool,
}

/// What is known of the signatures of an image.
#[derive(Debug)]
pub(super) struct Evidence<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) signatures: Vec<Signature>,
    /// Where signatures were searched, and how to make one.
    pub(super) advice: String,
}

/// Why a policy refuses an image.
#[derive(Debug, thiserror::Error)]
#[error("policy `{policy}` in `{file}` refuses it: {reason}")]
pub(crate) struct Refusal {
    policy: String,
    file: String,
    reason: String,
}

impl ImagePolicies {
    /// Whether signatures of the image matter at all.
    pub(super) fn cover(&self, image: &Reference) -> bool {
        self.policies.iter().any(|policy| policy.covers(image))
    }

    /// Whether every policy that covers the image is satisfied, those that only warn too.
    pub(super) fn are_satisfied(&self, image: &Reference, evidence: &Evidence<'_>) -> bool {
        let mut covering = self.policies.iter().filter(|policy| policy.covers(image));
        covering.all(|policy| policy.authority_of(evidence).is_ok())
    }

    /// Checks the image against every policy that covers it.
    ///
    /// # Errors
    /// The first policy that refuses it.
    pub(super) fn verify(&self, image: &Reference, evidence: &Evidence<'_>) -> Result<(), Refusal> {
        for policy in self.policies.iter().filter(|policy| policy.covers(image)) {
            match policy.authority_of(evidence) {
                Ok(authority) => {
                    tracing::debug!(%image, policy = policy.name, authority, "verified");
                }
                Err(reason) if policy.only_warns => {
                    tracing::warn!(%image, policy = policy.name, "not verified, and started because the policy only warns: {reason}");
                }
                Err(reason) => {
                    return Err(Refusal {
                        policy: policy.name.clone(),
                        file: policy.file.clone(),
                        reason,
                    });
                }
            }
        }
        Ok(())
    }
}

impl ImagePolicy {
    fn covers(&self, image: &Reference) -> bool {
        self.images.iter().any(|glob| glob.matches(image))
    }

    /// The name of the first authority that vouches for the image, or why none does.
    fn authority_of(&self, evidence: &Evidence<'_>) -> Result<&str, String> {
        let mut reasons = Vec::new();
        for authority in &self.authorities {
            match authority.vouches(evidence) {
                Ok(()) => return Ok(authority.name()),
                Err(reason) => reasons.push(explain(authority, &reason)),
            }
        }
        Err(reasons.join("; "))
    }
}

fn explain(authority: &Authority, reason: &AuthorityError) -> String {
    let name = authority.name();
    let reason = crate::causes::with_causes(reason);
    format!("authority `{name}`: {reason}")
}

#[cfg(test)]
mod tests;
