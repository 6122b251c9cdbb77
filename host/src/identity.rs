//! The identities of workloads: certificates that prove them, and the authority that signs the
//! certificates.
//!
//! A workload's identity is its [`SpiffeId`]. Calls within the process need no certificate:
//! the host itself attests who calls. A connection to another host presents the certificate
//! of the calling workload, or of the one that is called, and verifies the other's with
//! [`Identities::roots`].
//!
//! Without a shared authority the host has one of its own in memory. No other host can verify
//! what it signs, and [`Identities::is_shared`] is false.
//!
//! This room opens no connections and decides about no call.

mod authority;
mod certificates;
mod create;
mod failure;
mod key;

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use galleria_mesh::inbound::{SpiffeId, TRUST_DOMAIN};
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use self::authority::Authority;
use self::certificates::Certificates;
pub(crate) use self::failure::CertificateError;
use crate::settings::identity::IdentitySettings;

/// See the module's documentation.
pub(crate) struct Identities {
    authority: ArcSwap<Authority>,
    certificates: Certificates,
    is_shared: bool,
    changes: watch::Sender<u64>,
}

impl Identities {
    /// # Errors
    /// The authority cannot be created.
    pub(crate) fn open(settings: &IdentitySettings) -> anyhow::Result<Arc<Self>> {
        let authority = Authority::in_memory(TRUST_DOMAIN, SystemTime::now())?;
        Ok(Arc::new(Self {
            authority: ArcSwap::from_pointee(authority),
            certificates: Certificates::new(settings.workload_certificate_ttl),
            is_shared: false,
            changes: watch::Sender::new(0),
        }))
    }

    /// Whether other hosts can have the same roots. Otherwise they cannot verify the
    /// certificates of this host, nor this host theirs.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The trust domain of the host's workloads, without `spiffe://`.
    pub(crate) fn trust_domain(&self) -> &str {
        TRUST_DOMAIN
    }

    /// The certificate that proves `id`, with its chain and key. It is made at its first use,
    /// kept, and renewed: ask for it for every connection. Takes a millisecond if it is made.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub(crate) fn certificate(&self, id: &SpiffeId) -> Result<Arc<CertifiedKey>, CertificateError> {
        self.certificate_at(id, SystemTime::now())
    }

    fn certificate_at(
        &self,
        id: &SpiffeId,
        now: SystemTime,
    ) -> Result<Arc<CertifiedKey>, CertificateError> {
        if id.trust_domain() != self.trust_domain() {
            return Err(CertificateError::TrustDomain {
                id: id.clone(),
                trust_domain: self.trust_domain().to_owned(),
            });
        }
        let authority = self.authority.load_full();
        let certificate = self.certificates.of(id, &authority, now);
        certificate.map_err(|fault| CertificateError::Authority {
            id: id.clone(),
            fault,
        })
    }

    /// The roots that verify the certificates of other hosts: more than one during a rotation.
    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        self.authority.load().roots().clone()
    }

    /// How many certificates were made.
    pub(crate) fn issued(&self) -> u64 {
        self.certificates.issued()
    }

    /// Changes whenever the roots or the authority change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn in_memory() -> Arc<Identities> {
        let settings = IdentitySettings {
            workload_certificate_ttl: 24 * HOUR,
        };
        Identities::open(&settings).expect("an authority")
    }

    fn id() -> SpiffeId {
        let id = "spiffe://cluster.local/ns/shop/sa/ui";
        id.parse().expect("a SPIFFE ID")
    }

    #[test]
    fn certificate_is_renewed_after_half_to_two_thirds_of_its_life() {
        let identities = in_memory();
        let start = SystemTime::now();
        let at = |hours: u32| {
            let certificate = identities.certificate_at(&id(), start + HOUR * hours);
            certificate.expect("a certificate")
        };
        let first = at(0);
        assert!(Arc::ptr_eq(&first, &at(11)));
        let second = at(17);
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &at(17 + 11)));
        // A clock that is set back: the certificate is not valid yet.
        assert!(!Arc::ptr_eq(&second, &at(2)));
    }

    #[test]
    fn identity_of_another_trust_domain_has_no_certificate() {
        let id = "spiffe://example.com/ns/shop/sa/ui".parse();
        let certificate = in_memory().certificate(&id.expect("a SPIFFE ID"));
        let error = certificate.err().expect("no certificate").to_string();
        assert!(error.contains("trust domain `cluster.local`"), "{error}");
    }
}
