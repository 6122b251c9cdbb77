//! The authority that signs the certificates of workloads.
//!
//! It is checked when it is made: what it signs can be verified with the roots.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use galleria_mesh::inbound::SpiffeId;
use jiff::Timestamp;
use rcgen::{Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;

use super::create::{self, Created};
use super::failure::Fault;
use super::key::AuthorityKey;

/// See the module's documentation.
pub(super) struct Authority {
    issuer: Issuer<'static, AuthorityKey>,
    /// The certificate of the authority and those between it and its root, which is left out.
    chain: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    not_after: SystemTime,
}

/// What an authority is made of.
pub(super) struct Material {
    /// The certificate of the authority, then those that lead to its root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// More than one during a rotation.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

/// The certificate of a workload.
pub(super) struct Issued {
    /// Without the root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: KeyPair,
    pub(super) not_after: SystemTime,
}

impl Authority {
    /// # Errors
    /// See [`Fault`]: the material cannot be used at the time `now`.
    pub(super) fn new(material: &Material, now: SystemTime) -> Result<Self, Fault> {
        let certificate = material.chain.first().ok_or(Fault::Certificate)?;
        let parsed = parse(certificate)?;
        require_authority(&parsed)?;
        require_valid(&parsed, now)?;
        let public_key = &parsed.public_key().subject_public_key.data;
        let key = AuthorityKey::new(&material.key, public_key)?;
        let pair = CertifiedKey::new(vec![certificate.clone()], key.signer().clone());
        pair.keys_match().map_err(|_| Fault::OtherKey)?;
        let chain = material.chain.iter();
        let this = Self {
            issuer: Issuer::from_ca_cert_der(certificate, key)?,
            chain: chain
                .filter(|it| !material.roots.contains(it))
                .cloned()
                .collect(),
            roots: Arc::new(roots(&material.roots, now)?),
            not_after: not_after(&parsed),
        };
        this.require_chain(now)?;
        Ok(this)
    }

    /// An authority that signs itself, and ends with the process.
    pub(super) fn in_memory(trust_domain: &str, now: SystemTime) -> Result<Self, Fault> {
        let Created { certificate, key } = create::root(trust_domain, now)?;
        let material = Material {
            chain: vec![certificate.clone()],
            key: PrivateKeyDer::from(key),
            roots: vec![certificate],
        };
        Self::new(&material, now)
    }

    /// Signs a certificate for `id` that is valid for `ttl`, but not longer than that of the
    /// authority.
    ///
    /// # Errors
    /// The certificate of the authority has expired, or the system has no random numbers.
    pub(super) fn issue(
        &self,
        id: &SpiffeId,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, Fault> {
        if self.not_after <= now {
            return Err(Fault::Expired(timestamp(self.not_after)));
        }
        let not_after = self.not_after.min(now + ttl);
        let Created { certificate, key } = create::workload(id, &self.issuer, now, not_after)?;
        let mut chain = vec![certificate];
        chain.extend_from_slice(&self.chain);
        Ok(Issued {
            chain,
            key,
            not_after,
        })
    }

    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// Verifies a certificate of this authority with its roots, as another host does.
    fn require_chain(&self, now: SystemTime) -> Result<(), Fault> {
        let probe = SpiffeId::new("probe", "probe", "probe").map_err(|_| Fault::Certificate)?;
        let issued = self.issue(&probe, Duration::from_mins(1), now)?;
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider).build();
        let verifier = verifier.map_err(|_| Fault::NoRoot)?;
        let (certificate, chain) = issued.chain.split_first().ok_or(Fault::Certificate)?;
        verifier
            .verify_client_cert(
                certificate,
                chain,
                UnixTime::since_unix_epoch(since_epoch(now)),
            )
            .map_err(Fault::Chain)?;
        Ok(())
    }
}

impl Issued {
    /// In the form that rustls presents.
    ///
    /// # Errors
    /// rustls refuses the key.
    pub(super) fn certified(&self) -> Result<CertifiedKey, Fault> {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        let key = ring::sign::any_ecdsa_type(&PrivateKeyDer::from(key)).map_err(Fault::Key)?;
        Ok(CertifiedKey::new(self.chain.clone(), key))
    }
}

/// The roots that have not expired.
fn roots(
    certificates: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let parsed = parse(certificate)?;
        require_authority(&parsed)?;
        if now < not_after(&parsed) {
            let added = roots.add(certificate.clone());
            added.map_err(|_| Fault::Certificate)?;
        }
    }
    match roots.is_empty() {
        true => Err(Fault::NoRoot),
        false => Ok(roots),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
    let parsed = x509_parser::parse_x509_certificate(certificate);
    let (_, parsed) = parsed.map_err(|_| Fault::Certificate)?;
    Ok(parsed)
}

fn require_authority(certificate: &X509Certificate<'_>) -> Result<(), Fault> {
    let signs = match certificate.key_usage() {
        Ok(Some(usage)) => usage.value.key_cert_sign(),
        Ok(None) => true,
        Err(_) => false,
    };
    match certificate.is_ca() && signs {
        true => Ok(()),
        false => Err(Fault::NotAuthority),
    }
}

fn require_valid(certificate: &X509Certificate<'_>, now: SystemTime) -> Result<(), Fault> {
    let not_before = certificate.validity().not_before.timestamp();
    let not_before = SystemTime::UNIX_EPOCH + seconds(not_before);
    if now < not_before {
        return Err(Fault::NotYetValid(timestamp(not_before)));
    }
    let not_after = not_after(certificate);
    match now < not_after {
        true => Ok(()),
        false => Err(Fault::Expired(timestamp(not_after))),
    }
}

fn not_after(certificate: &X509Certificate<'_>) -> SystemTime {
    SystemTime::UNIX_EPOCH + seconds(certificate.validity().not_after.timestamp())
}

/// Dates before 1970 are as good as 1970.
fn seconds(timestamp: i64) -> Duration {
    Duration::from_secs(u64::try_from(timestamp).unwrap_or_default())
}

fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}
