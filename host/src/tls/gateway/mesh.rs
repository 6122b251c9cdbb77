//! Mode ISTIO_MUTUAL: a server presents the gateway's own identity, and accepts the clients
//! that have a certificate of the mesh's authority.

use std::sync::Arc;

use galleria_manifest::model::ServerTls;
use rustls::RootCertStore;
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};

use super::Digest;
use super::contents::ServerContents;

/// What the servers of the mode can use.
pub(crate) enum MeshCertificates {
    /// A check does not know the authority of the host.
    Unknown,
    /// The host has no authority that clients could share.
    NotShared,
    /// The authority cannot sign.
    Failed(String),
    Shared(MeshIdentity),
}

/// The identity of the gateway.
pub(crate) struct MeshIdentity {
    pub certificate: Arc<CertifiedKey>,
    /// Sign the certificates of clients.
    pub roots: Arc<RootCertStore>,
}

impl MeshCertificates {
    /// Of everything that changes with time.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Shared(identity) => {
                let mut digest = Sha256::new();
                digest.update(identity.certificates_digest());
                identity.add_roots(&mut digest);
                Some(digest.finalize().into())
            }
            Self::Unknown | Self::NotShared | Self::Failed(_) => None,
        }
    }
}

impl MeshIdentity {
    pub(super) fn certificates_digest(&self) -> Digest {
        let mut digest = Sha256::new();
        for certificate in &self.certificate.cert {
            digest.update(certificate);
        }
        digest.finalize().into()
    }

    /// Of everything but the certificate.
    pub(super) fn policy_digest(&self, settings: &ServerTls) -> Digest {
        let mut digest = Sha256::new();
        digest.update(ServerContents::default().policy_digest(settings));
        self.add_roots(&mut digest);
        digest.finalize().into()
    }

    fn add_roots(&self, digest: &mut Sha256) {
        for root in &self.roots.roots {
            digest.update(&root.subject);
            digest.update(&root.subject_public_key_info);
        }
    }
}
