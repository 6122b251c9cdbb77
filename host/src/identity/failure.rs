//! Why an authority or a certificate cannot be used.

use std::io;
use std::path::PathBuf;

use galleria_mesh::inbound::SpiffeId;
use jiff::Timestamp;

use crate::private_folder::FolderError;
use crate::tls::TlsError;

/// Why there is no certificate for a workload.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("`{id}` is not in the trust domain `{trust_domain}` of this host")]
    TrustDomain { id: SpiffeId, trust_domain: String },
    #[error("the certificate authority cannot sign a certificate for `{id}`")]
    Authority {
        id: SpiffeId,
        #[source]
        fault: Fault,
    },
}

/// Why the files of an authority cannot be read, written or used. Messages name files, and do
/// not contain keys or certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    File(#[from] TlsError),
    #[error("cannot read the folder `{}`", folder.display())]
    List { folder: PathBuf, source: io::Error },
    #[error(
        "the folder `{0}` has no certificate authority; make one with `galleria ca init {0}`",
        folder.display()
    )]
    Empty { folder: PathBuf },
    #[error(
        "the folder `{}` has files, but no certificate authority; use an empty folder, or one with ca-cert.pem, ca-key.pem and root-cert.pem, or with tls.crt, tls.key and ca.crt",
        folder.display()
    )]
    OtherFiles { folder: PathBuf },
    #[error(
        "the folder `{}` has a certificate authority in two forms, ca-cert.pem and tls.crt; remove one of them",
        folder.display()
    )]
    TwoForms { folder: PathBuf },
    #[error("`{}` is missing; {cure}", file.display())]
    Missing { file: PathBuf, cure: &'static str },
    #[error("cannot use `{}`", file.display())]
    Invalid {
        file: PathBuf,
        #[source]
        fault: Fault,
    },
    #[error("cannot create a key or a certificate")]
    Create(#[from] rcgen::Error),
    #[error("cannot lock the folder `{}`", folder.display())]
    Lock { folder: PathBuf, source: io::Error },
    #[error("cannot write `{}`", file.display())]
    Write { file: PathBuf, source: io::Error },
    #[error("the certificate in `{}` expires on {end}; replace the files", file.display())]
    ExpiresSoon { file: PathBuf, end: Timestamp },
    #[error(
        "the folder `{}` already has a certificate authority; `galleria ca rotate` replaces its root",
        folder.display()
    )]
    Exists { folder: PathBuf },
    #[error(
        "the folder `{}` has a certificate authority, whose files would be replaced; choose another folder for --out",
        folder.display()
    )]
    OutIsAuthority { folder: PathBuf },
    #[error("{0}")]
    Rotation(&'static str),
}

impl CaError {
    /// Whether the certificate of the authority has expired.
    pub(super) fn is_expired(&self) -> bool {
        let fault = match self {
            Self::Invalid { fault, .. } => Some(fault),
            _ => None,
        };
        matches!(fault, Some(Fault::Expired(_)))
    }
}

/// What is wrong with an authority.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("cannot create a key or a certificate")]
    Create(#[from] rcgen::Error),
    #[error("it has no valid X.509 certificate")]
    Certificate,
    #[error(
        "it is not the certificate of an authority (it needs basicConstraints CA:TRUE and keyUsage keyCertSign)"
    )]
    NotAuthority,
    #[error("its certificate has expired on {0}; replace it")]
    Expired(Timestamp),
    #[error("its certificate is not valid before {0}; check the clock of this machine")]
    NotYetValid(Timestamp),
    #[error("its private key is malformed")]
    Key(#[source] rustls::Error),
    #[error("its kind of key is not supported; use ECDSA P-256 or P-384, Ed25519, or RSA")]
    KeyKind,
    #[error("its private key does not belong to the certificate; use the files of one authority")]
    OtherKey,
    #[error(
        "no valid root certificate verifies what it signs; add the root that has signed it, and the certificates between them"
    )]
    Chain(#[source] rustls::Error),
    #[error("it has no root certificate that is still valid; add one")]
    NoRoot,
}

/// The part of an authority that has a [`Fault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Certificate,
    Key,
    Roots,
}
