//! What happens to an authority in a folder: it is made, its intermediate is renewed, its root
//! is rotated, and it signs for others.
//!
//! A rotation has three steps. Hosts verify each other at all times, because all trust both
//! roots before the first uses the new one:
//!
//! | step | trusted roots | the authority is signed by |
//! | --- | --- | --- |
//! | (before) | old | old |
//! | [`Step::Add`] | old, new | old |
//! | [`Step::Switch`] | new, old | new |
//! | [`Step::Drop`] | new | new |

use std::path::Path;
use std::time::{Duration, SystemTime};

use galleria_mesh::inbound::{SpiffeId, TRUST_DOMAIN};
use rustls::pki_types::CertificateDer;

use super::authority::{Authority, parse};
use super::create::{self, Created};
use super::failure::CaError;
use super::folder::{self, Contents, ISTIO, NEXT_ROOT_KEY, ROOT_KEY, Root};
use super::write::{LockedFolder, NewFile};

/// The part of its life after which an intermediate is renewed.
const RENEWAL: f64 = 2.0 / 3.0;

/// A step of a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Add,
    Switch,
    Drop,
}

/// Makes a root and an intermediate in `folder`.
///
/// # Errors
/// The folder has files, or cannot be written.
pub(crate) fn init(folder: &Path, trust_domain: &str, now: SystemTime) -> Result<(), CaError> {
    let locked = LockedFolder::open(folder)?;
    match folder::read(folder) {
        Ok(None) => create(&locked, trust_domain, now),
        Ok(Some(_)) | Err(CaError::TwoForms { .. } | CaError::Missing { .. }) => {
            Err(CaError::Exists {
                folder: folder.into(),
            })
        }
        Err(error) => Err(error),
    }
}

/// Makes a root and an intermediate in a folder that is empty.
pub(super) fn create(
    folder: &LockedFolder,
    trust_domain: &str,
    now: SystemTime,
) -> Result<(), CaError> {
    let Created { certificate, key } = create::root(trust_domain, now)?;
    let root_key = NewFile::key(ROOT_KEY, key.serialize_pem());
    let root = rcgen::Issuer::from_ca_cert_der(&certificate, key)?;
    let end = now + create::ROOT_TTL;
    let made = create::intermediate(trust_domain, &root, now, end)?;
    let mut files = signed_files(&made, &[certificate]);
    files.push(root_key);
    folder.replace(&files)
}

/// Opens the authority in a folder that the host may write: makes one if the folder is empty,
/// and renews an intermediate that has expired.
///
/// # Errors
/// The folder has other files, or an authority that cannot be used.
pub(super) fn open(
    folder: &Path,
    trust_domain: &str,
    now: SystemTime,
) -> Result<(Contents, Authority), CaError> {
    let locked = LockedFolder::open(folder)?;
    if folder::read(folder)?.is_none() {
        create(&locked, trust_domain, now)?;
    }
    let contents = folder::read_existing(folder)?;
    match contents.authority(now) {
        Err(error) if error.is_expired() && contents.renews() => {
            renew_locked(&locked, &contents, now)?;
            let contents = folder::read_existing(folder)?;
            let authority = contents.authority(now)?;
            Ok((contents, authority))
        }
        authority => Ok((contents, authority?)),
    }
}

/// Whether the certificate of `authority` is to be renewed.
pub(super) fn is_renewal_due(authority: &Authority, now: SystemTime) -> bool {
    let valid = authority.valid();
    let life = valid.end.duration_since(valid.start).unwrap_or_default();
    now >= valid.start + life.mul_f64(RENEWAL)
}

/// Renews the intermediate in `folder`, unless another host has done so.
///
/// # Errors
/// The folder has no key of its root, or cannot be written.
pub(super) fn renew(folder: &Path, now: SystemTime) -> Result<(), CaError> {
    let locked = LockedFolder::open(folder)?;
    let contents = folder::read_existing(folder)?;
    match contents.authority(now) {
        Ok(authority) if !is_renewal_due(&authority, now) => Ok(()),
        Err(error) if !error.is_expired() => Err(error),
        _ => renew_locked(&locked, &contents, now),
    }
}

fn renew_locked(
    folder: &LockedFolder,
    contents: &Contents,
    now: SystemTime,
) -> Result<(), CaError> {
    let made = intermediate(&contents.root(ROOT_KEY, now)?, now)?;
    folder.replace(&signed_files(&made, &contents.material.roots))
}

/// Writes another authority, signed by the root in `folder`, to the folder `out`: for a host of
/// its own.
///
/// # Errors
/// The folder has no key of its root, or `out` has one, or cannot be written.
pub(crate) fn export(folder: &Path, out: &Path, now: SystemTime) -> Result<(), CaError> {
    let contents = folder::read_existing(folder)?;
    let root = contents.root(ROOT_KEY, now)?;
    let locked = LockedFolder::open(out)?;
    let replaced = folder::read(out)?;
    if replaced.is_some_and(|it| it.form != &ISTIO || it.renews()) {
        return Err(CaError::OutIsAuthority { folder: out.into() });
    }
    let made = intermediate(&root, now)?;
    locked.replace(&signed_files(&made, &contents.material.roots))
}

/// Writes a certificate for `id`, its key and the roots to the folder `out`.
///
/// # Errors
/// The authority in `folder` cannot be used, or `out` cannot be written.
pub(crate) fn issue(
    folder: &Path,
    id: &SpiffeId,
    ttl: Duration,
    out: &Path,
    now: SystemTime,
) -> Result<SystemTime, CaError> {
    let contents = folder::read_existing(folder)?;
    let issued = contents.authority(now)?.issue(id, ttl, now);
    let issued = issued.map_err(|fault| CaError::Invalid {
        file: contents.certificate_file(),
        fault,
    })?;
    let locked = LockedFolder::open(out)?;
    if ["ca-key.pem", "tls.key"]
        .iter()
        .any(|it| out.join(it).exists())
    {
        return Err(CaError::OutIsAuthority { folder: out.into() });
    }
    locked.replace(&[
        NewFile::certificates("cert-chain.pem", &issued.chain),
        NewFile::key("key.pem", issued.key.serialize_pem()),
        NewFile::certificates("root-cert.pem", &contents.material.roots),
    ])?;
    Ok(issued.not_after)
}

/// Carries out a step of a rotation of the root.
///
/// # Errors
/// The step is not the next one, or the folder has no key of its root, or cannot be written.
pub(crate) fn rotate(folder: &Path, step: Step, now: SystemTime) -> Result<(), CaError> {
    let locked = LockedFolder::open(folder)?;
    let contents = folder::read_existing(folder)?;
    let root = contents.root(ROOT_KEY, now)?;
    match (step, next_step(&contents)) {
        (Step::Add, Step::Add) => add(&locked, &contents, now),
        (Step::Switch, Step::Switch) => switch(&locked, &contents, &root, now),
        (Step::Drop, Step::Drop) => {
            locked.replace(&[NewFile::certificates(ISTIO.roots, &[root.certificate])])
        }
        (_, Step::Add) => Err(CaError::Rotation(
            "no rotation is in progress; begin with `galleria ca rotate add`",
        )),
        (_, Step::Switch) => Err(CaError::Rotation(
            "the new root is not in use yet; continue with `galleria ca rotate switch`",
        )),
        (_, Step::Drop) => Err(CaError::Rotation(
            "the old root is still trusted; finish this rotation with `galleria ca rotate drop`",
        )),
    }
}

/// The step that is next; `Add` if no rotation is in progress.
pub(super) fn next_step(contents: &Contents) -> Step {
    match (contents.has(NEXT_ROOT_KEY), contents.material.roots.len()) {
        (true, _) => Step::Switch,
        (false, 0 | 1) => Step::Add,
        (false, _) => Step::Drop,
    }
}

fn add(folder: &LockedFolder, contents: &Contents, now: SystemTime) -> Result<(), CaError> {
    let old = contents.root(ROOT_KEY, now)?;
    let Created { certificate, key } = create::root(&trust_domain(&old), now)?;
    let mut roots = contents.material.roots.clone();
    roots.push(certificate);
    folder.replace(&[
        NewFile::certificates(ISTIO.roots, &roots),
        NewFile::key(NEXT_ROOT_KEY, key.serialize_pem()),
    ])
}

fn switch(
    folder: &LockedFolder,
    contents: &Contents,
    old: &Root,
    now: SystemTime,
) -> Result<(), CaError> {
    let new = contents.root(NEXT_ROOT_KEY, now)?;
    let path = folder.path().join(NEXT_ROOT_KEY);
    let key = std::fs::read_to_string(&path)
        .map_err(|source| CaError::File(crate::tls::TlsError::Read { file: path, source }))?;
    let made = intermediate(&new, now)?;
    let roots = [new.certificate, old.certificate.clone()];
    let mut files = signed_files(&made, &roots);
    files.push(NewFile::key(ROOT_KEY, key));
    files.push(NewFile::removed(NEXT_ROOT_KEY));
    folder.replace(&files)
}

fn intermediate(root: &Root, now: SystemTime) -> Result<Created, rcgen::Error> {
    let signer = &root.signer;
    create::intermediate(&trust_domain(root), &signer.issuer, now, signer.valid.end)
}

/// The trust domain that a root was made for: the organization of its subject.
fn trust_domain(root: &Root) -> String {
    let parsed = parse(&root.certificate).ok();
    let name = parsed.as_ref().and_then(|it| {
        let mut organizations = it.subject().iter_organization();
        organizations.next()?.as_str().ok()
    });
    name.unwrap_or(TRUST_DOMAIN).to_owned()
}

/// The files of an authority that a root has signed.
fn signed_files(made: &Created, roots: &[CertificateDer<'static>]) -> Vec<NewFile> {
    let certificate = std::slice::from_ref(&made.certificate);
    let mut files = vec![
        NewFile::certificates(ISTIO.roots, roots),
        NewFile::key(ISTIO.key, made.key.serialize_pem()),
        NewFile::certificates(ISTIO.certificate, certificate),
    ];
    files.extend(
        ISTIO
            .chain
            .map(|name| NewFile::certificates(name, certificate)),
    );
    files
}
