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
mod describe;
mod failure;
mod folder;
mod follow;
mod key;
mod lifecycle;
mod write;

#[cfg(test)]
mod tests;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use galleria_mesh::inbound::SpiffeId;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use self::authority::Authority;
use self::certificates::Certificates;
pub(crate) use self::describe::{CertificateDescription, Description, describe};
pub(crate) use self::failure::{CaError, CertificateError};
use self::follow::Source;
pub(crate) use self::lifecycle::{Step, export, init, issue, rotate};
use crate::settings::identity::IdentitySettings;

/// See the module's documentation.
pub(crate) struct Identities {
    authority: ArcSwap<Authority>,
    certificates: Certificates,
    trust_domain: Arc<str>,
    /// `None` for an authority in memory.
    source: Option<Source>,
    changes: watch::Sender<u64>,
}

impl Identities {
    /// Opens the authority of the settings, and follows its files. Blocks, and must be called
    /// in a runtime.
    ///
    /// # Errors
    /// See [`CaError`].
    pub(crate) fn open(settings: &IdentitySettings) -> anyhow::Result<Arc<Self>> {
        let now = SystemTime::now();
        let Some(folder) = &settings.ca_dir else {
            let authority = Authority::in_memory(&settings.trust.trust_domain, now)?;
            return Ok(Arc::new(Self::new(settings, authority, None)));
        };
        let identities = Arc::new(Self::shared(settings, folder, now)?);
        tokio::spawn(follow::follow(Arc::downgrade(&identities), folder.clone()));
        Ok(identities)
    }

    /// With the authority in `folder`.
    fn shared(
        settings: &IdentitySettings,
        folder: &Path,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let (contents, authority) = match write::is_read_only(folder) {
            true => {
                let contents = folder::read_existing(folder)?;
                let authority = contents.authority(now)?;
                (contents, authority)
            }
            false => {
                let opened = lifecycle::open(folder, &settings.trust.trust_domain, now)?;
                warn_of_readable_key(&folder.join(opened.0.form.key));
                opened
            }
        };
        let source = Source::new(folder, &contents);
        Ok(Self::new(settings, authority, Some(source)))
    }

    fn new(settings: &IdentitySettings, authority: Authority, source: Option<Source>) -> Self {
        Self {
            authority: ArcSwap::from_pointee(authority),
            certificates: Certificates::new(settings.workload_certificate_ttl),
            trust_domain: settings.trust.trust_domain.clone(),
            source,
            changes: watch::Sender::new(0),
        }
    }

    /// Whether other hosts can have the same roots. Otherwise they cannot verify the
    /// certificates of this host, nor this host theirs.
    pub(crate) fn is_shared(&self) -> bool {
        self.source.is_some()
    }

    /// The trust domain of the host's workloads, without `spiffe://`.
    pub(crate) fn trust_domain(&self) -> &str {
        &self.trust_domain
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

    /// The files of a shared authority, with the end of the certificate in them that expires
    /// first, in seconds since 1970.
    pub(crate) fn expiries(&self) -> Vec<(String, i64)> {
        let Some(source) = &self.source else {
            return Vec::new();
        };
        let authority = self.authority.load();
        let ends = [authority.chain_end(), authority.roots_end()];
        let ends = ends.map(|end| authority::timestamp(end).as_second());
        source.labels().into_iter().zip(ends).collect()
    }

    /// How many certificates were made.
    pub(crate) fn issued(&self) -> u64 {
        self.certificates.issued()
    }

    fn replace(&self, authority: Authority) {
        self.authority.store(Arc::new(authority));
        self.changes.send_modify(|count| *count += 1);
    }

    /// Reads the files of a shared authority again. Blocks.
    fn refresh(&self, now: SystemTime) {
        if let Some(source) = &self.source {
            source.refresh(self, now);
        }
    }

    /// Changes whenever the roots or the authority change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// Others can read the files of a folder that is not private.
fn warn_of_readable_key(file: &Path) {
    let mode = file.metadata().map_or(0, |it| it.permissions().mode());
    if mode & 0o077 != 0 {
        let file = file.display();
        tracing::warn!(%file, mode = %format!("{:o}", mode & 0o7777), "other users can read the private key of the certificate authority; run `chmod 600`");
    }
}
