//! What an authority in a folder consists of, for `galleria ca show`.

use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::authority::{parse, timestamp, validity};
use super::failure::{CaError, Fault};
use super::folder::{self, Contents};
use super::lifecycle::{self, Step};

/// See the module's documentation.
pub(crate) struct Description {
    pub(crate) certificates: Vec<CertificateDescription>,
    /// Whether the folder has the key of the root, so that the host renews the intermediate.
    pub(crate) has_root_key: bool,
    /// The next step, if a rotation is in progress.
    pub(crate) rotation: Option<Step>,
    /// Why a host cannot use it.
    pub(crate) problem: Option<CaError>,
}

/// One certificate.
pub(crate) struct CertificateDescription {
    pub(crate) file: &'static str,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    /// SHA-256, as `openssl x509 -fingerprint -sha256` writes it.
    pub(crate) fingerprint: String,
}

/// The authority in `folder` at the time `now`.
///
/// # Errors
/// The folder has no authority, or its files are malformed.
pub(crate) fn describe(folder: &Path, now: SystemTime) -> Result<Description, CaError> {
    let contents = folder::read_existing(folder)?;
    let Contents { form, material, .. } = &contents;
    let chain = material.chain.iter().map(|it| (form.certificate, it));
    let roots = material.roots.iter().map(|it| (form.roots, it));
    let chain = chain.filter(|(_, it)| !material.roots.contains(it));
    let certificates = chain.chain(roots).map(|(file, certificate)| {
        certificate_description(file, certificate).ok_or_else(|| CaError::Invalid {
            file: folder.join(file),
            fault: Fault::Certificate,
        })
    });
    Ok(Description {
        certificates: certificates.collect::<Result<_, _>>()?,
        has_root_key: contents.renews(),
        rotation: contents
            .renews()
            .then(|| lifecycle::next_step(&contents))
            .filter(|step| *step != Step::Add),
        problem: contents.authority(now).err(),
    })
}

fn certificate_description(
    file: &'static str,
    certificate: &CertificateDer<'_>,
) -> Option<CertificateDescription> {
    let parsed = parse(certificate).ok()?;
    let valid = validity(&parsed);
    let digest = Sha256::digest(certificate);
    let fingerprint: Vec<_> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
    Some(CertificateDescription {
        file,
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        not_before: timestamp(valid.start),
        not_after: timestamp(valid.end),
        fingerprint: fingerprint.join(":"),
    })
}
