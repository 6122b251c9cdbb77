//! New authorities and certificates.

use std::time::{Duration, SystemTime};

use galleria_mesh::inbound::SpiffeId;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SigningKey, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// How long a root is valid. It is replaced by a rotation, which takes an operator.
pub(super) const ROOT_TTL: Duration = Duration::from_hours(10 * 365 * 24);

/// How long an intermediate is valid. The host renews it if it has the root's key.
pub(super) const INTERMEDIATE_TTL: Duration = Duration::from_hours(365 * 24);

/// Certificates are valid this long before they are made, because clocks of hosts differ.
const CLOCK_SKEW: Duration = Duration::from_mins(2);

/// A certificate with its private key.
pub(super) struct Created {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: KeyPair,
}

/// A root that signs itself.
pub(super) fn root(trust_domain: &str, now: SystemTime) -> Result<Created, rcgen::Error> {
    let key = KeyPair::generate()?;
    let params = authority(trust_domain, "root", &key, (now, now + ROOT_TTL));
    let certificate = params.self_signed(&key)?.der().clone();
    Ok(Created { certificate, key })
}

/// An authority whose certificate `root` signs. It cannot sign other authorities, and ends no
/// later than `end`.
pub(super) fn intermediate(
    trust_domain: &str,
    root: &Issuer<'_, impl SigningKey>,
    now: SystemTime,
    end: SystemTime,
) -> Result<Created, rcgen::Error> {
    let key = KeyPair::generate()?;
    let valid = (now, end.min(now + INTERMEDIATE_TTL));
    let mut params = authority(trust_domain, "intermediate", &key, valid);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, root)?.der().clone();
    Ok(Created { certificate, key })
}

/// The certificate of a workload, as Istio's CA makes them: for both ends of a connection, and
/// with no other name than the SPIFFE ID.
pub(super) fn workload(
    id: &SpiffeId,
    authority: &Issuer<'_, impl SigningKey>,
    now: SystemTime,
    end: SystemTime,
) -> Result<Created, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = params((now, end));
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, authority)?.der().clone();
    Ok(Created { certificate, key })
}

fn authority(
    trust_domain: &str,
    role: &str,
    key: &KeyPair,
    valid: (SystemTime, SystemTime),
) -> CertificateParams {
    let mut params = params(valid);
    // Authorities of the same role are told apart by their keys.
    let digest = Sha256::digest(key.der_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    params
        .distinguished_name
        .push(DnType::OrganizationName, trust_domain);
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Galleria {role} {number:08x}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn params((now, end): (SystemTime, SystemTime)) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let since_epoch = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        epoch + since.unwrap_or_default()
    };
    let mut params = CertificateParams::default();
    params.not_before = since_epoch(now - CLOCK_SKEW);
    params.not_after = since_epoch(end);
    params.distinguished_name = DistinguishedName::new();
    params
}
