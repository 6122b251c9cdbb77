//! The authority that signs the certificates of workloads.
//!
//! It is checked when it is made: what it signs can be verified with the roots.

use std::ops::Range;
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
use super::failure::{Fault, Part};
use super::key::AuthorityKey;

/// See the module's documentation.
pub(super) struct Authority {
    signer: Signer,
    /// The certificate of the authority and those between it and its root, which is left out.
    chain: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
    roots_end: SystemTime,
}

/// A certificate that may sign others, and its key.
pub(super) struct Signer {
    pub(super) issuer: Issuer<'static, AuthorityKey>,
    pub(super) valid: Range<SystemTime>,
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
    /// The part of the material that cannot be used at the time `now`, and why.
    pub(super) fn new(material: &Material, now: SystemTime) -> Result<Self, (Part, Fault)> {
        let certificate = material.chain.first();
        let certificate = certificate.ok_or((Part::Certificate, Fault::Certificate))?;
        let signer = Signer::new(certificate, &material.key, now)?;
        let (roots, roots_end) = roots(&material.roots, now).map_err(|it| (Part::Roots, it))?;
        let chain = material.chain.iter();
        let this = Self {
            signer,
            chain: chain
                .filter(|it| !material.roots.contains(it))
                .cloned()
                .collect(),
            roots: Arc::new(roots),
            roots_end,
        };
        this.require_chain(now)
            .map_err(|fault| (Part::Certificate, fault))?;
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
        Self::new(&material, now).map_err(|(_, fault)| fault)
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
        let end = self.signer.valid.end;
        if end <= now {
            return Err(Fault::Expired(timestamp(end)));
        }
        let not_after = end.min(now + ttl);
        let issuer = &self.signer.issuer;
        let Created { certificate, key } = create::workload(id, issuer, now, not_after)?;
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

    /// When the first of the roots expires.
    pub(super) fn roots_end(&self) -> SystemTime {
        self.roots_end
    }

    /// When the first certificate expires of the authority's and those between it and a root.
    pub(super) fn chain_end(&self) -> SystemTime {
        let between = self.chain.iter().filter_map(|it| parse(it).ok());
        let ends = between.map(|it| validity(&it).end);
        ends.chain([self.signer.valid.end])
            .min()
            .unwrap_or(self.signer.valid.end)
    }

    /// When the certificate of the authority is valid.
    pub(super) fn valid(&self) -> &Range<SystemTime> {
        &self.signer.valid
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
        let since_epoch = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let since_epoch = UnixTime::since_unix_epoch(since_epoch);
        verifier
            .verify_client_cert(certificate, chain, since_epoch)
            .map_err(Fault::Chain)?;
        Ok(())
    }
}

impl Signer {
    /// # Errors
    /// The part that cannot be used at the time `now`, and why.
    pub(super) fn new(
        certificate: &CertificateDer<'static>,
        key: &PrivateKeyDer<'_>,
        now: SystemTime,
    ) -> Result<Self, (Part, Fault)> {
        let of_certificate = |fault| (Part::Certificate, fault);
        let of_key = |fault| (Part::Key, fault);
        let parsed = parse(certificate).map_err(of_certificate)?;
        require_authority(&parsed).map_err(of_certificate)?;
        let valid = validity(&parsed);
        require_valid(&valid, now).map_err(of_certificate)?;
        let public_key = &parsed.public_key().subject_public_key.data;
        let key = AuthorityKey::new(key, public_key).map_err(of_key)?;
        let pair = CertifiedKey::new(vec![certificate.clone()], key.signer().clone());
        pair.keys_match().map_err(|_| of_key(Fault::OtherKey))?;
        let issuer = Issuer::from_ca_cert_der(certificate, key);
        Ok(Self {
            issuer: issuer.map_err(|error| of_certificate(error.into()))?,
            valid,
        })
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

/// The roots that have not expired, and when the first of them does.
fn roots(
    certificates: &[CertificateDer<'static>],
    now: SystemTime,
) -> Result<(RootCertStore, SystemTime), Fault> {
    let mut roots = RootCertStore::empty();
    let mut ends = Vec::new();
    for certificate in certificates {
        let parsed = parse(certificate)?;
        require_authority(&parsed)?;
        let end = validity(&parsed).end;
        if now < end {
            let added = roots.add(certificate.clone());
            added.map_err(|_| Fault::Certificate)?;
            ends.push(end);
        }
    }
    let end = ends.into_iter().min().ok_or(Fault::NoRoot)?;
    Ok((roots, end))
}

/// # Errors
/// It is not an X.509 certificate.
pub(super) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
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

fn require_valid(valid: &Range<SystemTime>, now: SystemTime) -> Result<(), Fault> {
    if now < valid.start {
        return Err(Fault::NotYetValid(timestamp(valid.start)));
    }
    match now < valid.end {
        true => Ok(()),
        false => Err(Fault::Expired(timestamp(valid.end))),
    }
}

/// When the certificate is valid. Dates before 1970 are as good as 1970.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> Range<SystemTime> {
    let time = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let validity = certificate.validity();
    time(validity.not_before.timestamp())..time(validity.not_after.timestamp())
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::MAX)
}
