//! Reads the files of an authority from a folder.
//!
//! | file | Istio's form | cert-manager's form |
//! | --- | --- | --- |
//! | certificate of the authority | `ca-cert.pem` | `tls.crt`, with its chain |
//! | its private key | `ca-key.pem` | `tls.key` |
//! | certificates between it and the root | `cert-chain.pem`, if there are any | |
//! | trusted roots | `root-cert.pem` | `ca.crt` |
//!
//! The host itself writes Istio's form, and in addition the key of the root. A folder with
//! other files and no authority is refused, so that a wrong path is noticed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::authority::{Authority, Material, Signer, parse};
use super::failure::{CaError, Fault, Part};
use crate::tls::{PemFile, certificates, private_key};

/// The names of the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) certificate: &'static str,
    pub(super) key: &'static str,
    pub(super) chain: Option<&'static str>,
    pub(super) roots: &'static str,
}

pub(super) static ISTIO: Form = Form {
    certificate: "ca-cert.pem",
    key: "ca-key.pem",
    chain: Some("cert-chain.pem"),
    roots: "root-cert.pem",
};

static CERT_MANAGER: Form = Form {
    certificate: "tls.crt",
    key: "tls.key",
    chain: None,
    roots: "ca.crt",
};

/// The private key of the root that signs the authority.
pub(super) const ROOT_KEY: &str = "root-key.pem";

/// The private key of the root that a rotation has added.
pub(super) const NEXT_ROOT_KEY: &str = "next-root-key.pem";

/// Entries of a folder without an authority: that of a new file system, and files of a write
/// that was interrupted.
const IGNORED: [&str; 2] = ["lost+found", super::write::STAGED];

/// The files of an authority.
pub(super) struct Contents {
    folder: PathBuf,
    pub(super) form: &'static Form,
    pub(super) material: Material,
    /// Tells contents apart.
    pub(super) digest: [u8; 32],
}

/// A root with its private key.
pub(super) struct Root {
    pub(super) certificate: CertificateDer<'static>,
    pub(super) signer: Signer,
}

/// The authority in `folder`; `None` if the folder is empty.
///
/// # Errors
/// The folder or a file cannot be read, or is not what it should be.
pub(super) fn read(folder: &Path) -> Result<Option<Contents>, CaError> {
    let Some(form) = form(folder)? else {
        return Ok(None);
    };
    let mut digest = Sha256::new();
    let mut read = |name: &str| -> Result<(PemFile, Vec<u8>), CaError> {
        let file = PemFile::new(folder.join(name));
        let pem = file.read()?;
        digest.update(pem.len().to_be_bytes());
        digest.update(&pem);
        Ok((file, pem))
    };
    let (file, pem) = read(form.certificate)?;
    let mut chain = certificates(&file, &pem)?;
    let (file, pem) = read(form.key)?;
    let key = private_key(&file, &pem)?;
    if let Some(name) = form.chain.filter(|name| folder.join(name).exists()) {
        let (file, pem) = read(name)?;
        for certificate in certificates(&file, &pem)? {
            if !chain.contains(&certificate) {
                chain.push(certificate);
            }
        }
    }
    let roots = match folder.join(form.roots).exists() {
        true => {
            let (file, pem) = read(form.roots)?;
            certificates(&file, &pem)?
        }
        // An authority that signs itself is its own root.
        false => match chain.as_slice() {
            [only] if is_self_signed(only) => vec![only.clone()],
            _ => {
                return Err(CaError::Missing {
                    file: folder.join(form.roots),
                    cure: "add the root certificate that other hosts trust",
                });
            }
        },
    };
    Ok(Some(Contents {
        folder: folder.into(),
        form,
        material: Material { chain, key, roots },
        digest: digest.finalize().into(),
    }))
}

/// The authority in `folder`.
///
/// # Errors
/// As [`read`]; also if the folder is empty.
pub(super) fn read_existing(folder: &Path) -> Result<Contents, CaError> {
    read(folder)?.ok_or_else(|| CaError::Empty {
        folder: folder.into(),
    })
}

impl Contents {
    /// # Errors
    /// A file cannot be used at the time `now`.
    pub(super) fn authority(&self, now: SystemTime) -> Result<Authority, CaError> {
        Authority::new(&self.material, now).map_err(|(part, fault)| {
            let name = match part {
                Part::Certificate => self.form.certificate,
                Part::Key => self.form.key,
                Part::Roots => self.form.roots,
            };
            self.invalid(name, fault)
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    /// Whether the folder has the key of its root, so that the authority can be renewed.
    pub(super) fn renews(&self) -> bool {
        self.form == &ISTIO && self.has(ROOT_KEY)
    }

    pub(super) fn certificate_file(&self) -> PathBuf {
        self.folder.join(self.form.certificate)
    }

    pub(super) fn roots_file(&self) -> PathBuf {
        self.folder.join(self.form.roots)
    }

    /// The root whose private key is in the file `key`.
    ///
    /// # Errors
    /// There is no such file, or the key is that of no root.
    pub(super) fn root(&self, key: &str, now: SystemTime) -> Result<Root, CaError> {
        if self.form != &ISTIO || !self.has(key) {
            return Err(CaError::Missing {
                file: self.folder.join(key),
                cure: "run this in the folder that `galleria ca init` has made, which has the key of the root",
            });
        }
        let file = PemFile::new(self.folder.join(key));
        let pem = private_key(&file, &file.read()?)?;
        let mut fault = Fault::NoRoot;
        for certificate in &self.material.roots {
            match Signer::new(certificate, &pem, now) {
                Ok(signer) => {
                    return Ok(Root {
                        certificate: certificate.clone(),
                        signer,
                    });
                }
                Err((_, other)) => fault = other,
            }
        }
        Err(self.invalid(key, fault))
    }

    fn invalid(&self, name: &str, fault: Fault) -> CaError {
        CaError::Invalid {
            file: self.folder.join(name),
            fault,
        }
    }
}

/// The form of the authority in `folder`; `None` if the folder is empty.
fn form(folder: &Path) -> Result<Option<&'static Form>, CaError> {
    let unreadable = |source| CaError::List {
        folder: folder.into(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        names.push(entry.map_err(unreadable)?.file_name());
    }
    let has = |form: &Form| {
        names
            .iter()
            .any(|name| name == form.certificate || name == form.key)
    };
    match (has(&ISTIO), has(&CERT_MANAGER)) {
        (true, true) => Err(CaError::TwoForms {
            folder: folder.into(),
        }),
        (true, false) => Ok(Some(&ISTIO)),
        (false, true) => Ok(Some(&CERT_MANAGER)),
        (false, false) => match names.iter().all(|name| IGNORED.iter().any(|it| name == it)) {
            true => Ok(None),
            false => Err(CaError::OtherFiles {
                folder: folder.into(),
            }),
        },
    }
}

fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    parse(certificate).is_ok_and(|certificate| certificate.subject() == certificate.issuer())
}
