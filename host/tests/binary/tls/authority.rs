//! An authority that only these tests use, for certificates of servers and of clients.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::client::Client;

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// An authority that issues for both sides.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(super) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_for(names, 1, &KeyPair::generate().expect("a key"))
    }

    pub(super) fn issue_for(&self, names: &[&str], serial: u64, key: &KeyPair) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.serial_number = Some(SerialNumber::from(serial));
        params.distinguished_name.push(DnType::CommonName, "issued");
        let names = names.iter().map(|name| {
            let text = (*name).to_owned().try_into().expect("ASCII");
            match name.contains("://") {
                true => SanType::URI(text),
                false => SanType::DnsName(text),
            }
        });
        params.subject_alt_names = names.collect();
        let issued = params.signed_by(key, &self.0).expect("signed");
        Identity {
            certificate: issued.pem(),
            key: key.serialize_pem(),
        }
    }

    pub(super) fn revoke(&self, serial: u64) -> String {
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(serial),
                revocation_time: date_time_ymd(2025, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params
            .signed_by(&self.0)
            .expect("signed")
            .pem()
            .expect("PEM")
    }

    /// A client that trusts this authority and speaks HTTP/1.1.
    pub(super) fn client(&self) -> Client {
        let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
        self.client_with(&versions, None)
    }

    pub(super) fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Client {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.pem().as_bytes()).expect("PEM");
        roots.add(authority).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = CertificateDer::from_pem_slice(certificate.as_bytes()).expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("PEM");
                let builder = builder.with_client_auth_cert(vec![chain], key);
                builder.expect("an identity")
            }
        };
        Client { config }
    }

    pub(super) fn presenting(&self, identity: &Identity) -> Client {
        let versions = [&rustls::version::TLS12, &rustls::version::TLS13];
        self.client_with(&versions, Some(identity))
    }
}
