//! What the Secrets and files of a server contain.

use std::collections::HashMap;
use std::sync::Arc;

use galleria_manifest::model::{
    CertificateSource, Object, Resource, Secret, ServerCertificate, ServerTls,
};
use galleria_mesh::ListenerTls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};

use super::Digest;
use crate::tls::{PemFile, TlsError};

/// The names of a certificate and its key in a Secret: Istio's own, and those of
/// `kubernetes.io/tls`.
const PAIRS: [[&str; 2]; 2] = [["cert", "key"], ["tls.crt", "tls.key"]];

/// The names of the authorities of clients, and of revocation lists.
const AUTHORITIES: [&str; 2] = ["cacert", "ca.crt"];
const REVOCATIONS: [&str; 2] = ["crl", "ca.crl"];

/// The suffix of a Secret with the authorities for the certificate of another.
const AUTHORITIES_SUFFIX: &str = "-cacert";

/// Why something is not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum ContentsError {
    #[error("there is no Secret {0}")]
    NoSecret(String),
    #[error("the Secret {secret} has no key {keys}")]
    NoKey { secret: String, keys: &'static str },
    #[error("`{key}` of the Secret {secret} is not PEM with {what}")]
    Pem {
        secret: String,
        key: &'static str,
        what: &'static str,
    },
    #[error(transparent)]
    File(TlsError),
}

/// A problem with its field, below the settings.
pub(super) type Located<T> = Result<T, (String, ContentsError)>;

/// The Secrets in force, by namespace and name.
pub(super) struct Secrets<'a>(HashMap<(&'a str, &'a str), &'a Secret>);

/// Everything that a server is built from.
#[derive(Default)]
pub(super) struct ServerContents {
    pub(super) certificates: Vec<CertificateContents>,
    pub(super) client: ClientContents,
}

pub(super) struct CertificateContents {
    /// The Secret or the file, for messages and metrics.
    pub(super) label: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// Empty if clients need no certificate.
#[derive(Default)]
pub(super) struct ClientContents {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) revocations: Vec<CertificateRevocationListDer<'static>>,
}

/// Reads the files of one server, and notes them.
pub(super) struct Reader<'a> {
    pub(super) secrets: &'a Secrets<'a>,
    /// The files that were read, and the digest of what they contained.
    pub(super) files: &'a mut Vec<(PemFile, Option<Digest>)>,
}

impl ContentsError {
    /// Whether the check of the manifests reports it too.
    pub(super) fn is_reference(&self) -> bool {
        matches!(self, Self::NoSecret(_) | Self::NoKey { .. })
    }
}

impl<'a> Secrets<'a> {
    pub(super) fn new(objects: &'a [Arc<Object>]) -> Self {
        let secrets = objects.iter().filter_map(|object| match &object.resource {
            Resource::Secret(secret) => {
                let metadata = &object.metadata;
                Some((
                    (metadata.namespace.as_str(), metadata.name.as_str()),
                    secret,
                ))
            }
            _ => None,
        });
        Self(secrets.collect())
    }

    fn get(&self, namespace: &str, name: &str) -> Result<&'a Secret, ContentsError> {
        let found = self.0.get(&(namespace, name));
        let missing = || ContentsError::NoSecret(format!("{namespace}/{name}"));
        found.copied().ok_or_else(missing)
    }
}

impl Reader<'_> {
    /// Blocks while it reads files.
    pub(super) fn read(&mut self, tls: &ListenerTls) -> Located<ServerContents> {
        let certificates = tls.settings.certificates.iter();
        let certificates = certificates.map(|certificate| {
            let read = self.certificate(tls, certificate);
            read.map_err(|error| (certificate.field.clone(), error))
        });
        let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
        let client = match tls.settings.mode.verifies_clients() {
            true => self.client(tls)?,
            false => ClientContents::default(),
        };
        Ok(ServerContents {
            certificates,
            client,
        })
    }

    fn certificate(
        &mut self,
        tls: &ListenerTls,
        certificate: &ServerCertificate,
    ) -> Result<CertificateContents, ContentsError> {
        match &certificate.source {
            CertificateSource::Secret { name, namespace } => {
                let namespace = namespace.as_ref().unwrap_or(&tls.namespace);
                let secret = self.secrets.get(namespace, name)?;
                let label = format!("{namespace}/{name}");
                let pair = PAIRS
                    .iter()
                    .find(|pair| pair.iter().all(|key| secret.data.contains_key(*key)));
                let [chain, key] = pair.ok_or_else(|| ContentsError::NoKey {
                    secret: label.clone(),
                    keys: "`tls.crt` or `tls.key`",
                })?;
                Ok(CertificateContents {
                    chain: certificates(secret, &label, chain)?,
                    key: private_key(secret, &label, key)?,
                    label,
                })
            }
            CertificateSource::Files {
                certificate,
                private_key,
            } => {
                let chain_file = PemFile::new(certificate.as_str());
                let key_file = PemFile::new(private_key.as_str());
                let chain = self.file(&chain_file)?;
                let key = self.file(&key_file)?;
                let chain = crate::tls::files::certificates(&chain_file, &chain);
                let key = crate::tls::files::private_key(&key_file, &key);
                Ok(CertificateContents {
                    label: certificate.value.clone(),
                    chain: chain.map_err(ContentsError::File)?,
                    key: key.map_err(ContentsError::File)?,
                })
            }
        }
    }

    fn client(&mut self, tls: &ListenerTls) -> Located<ClientContents> {
        let settings = &tls.settings;
        let mut client = ClientContents::default();
        if let Some(file) = settings.client.ca_certificates.as_ref() {
            let at_field = |error| ("caCertificates".to_owned(), error);
            let file = PemFile::new(file.as_str());
            let pem = self.file(&file).map_err(at_field)?;
            let authorities = crate::tls::files::certificates(&file, &pem);
            client.authorities = authorities.map_err(ContentsError::File).map_err(at_field)?;
        } else {
            let (field, label, secret) = self.authorities(tls)?;
            let at_field = |error| (field.clone(), error);
            let key = AUTHORITIES
                .into_iter()
                .find(|key| secret.data.contains_key(*key))
                .ok_or_else(|| ContentsError::NoKey {
                    secret: label.clone(),
                    keys: "`ca.crt`",
                })
                .map_err(at_field)?;
            client.authorities = certificates(secret, &label, key).map_err(at_field)?;
            let lists = REVOCATIONS
                .into_iter()
                .find(|key| secret.data.contains_key(*key));
            if let Some(key) = lists {
                let pem = contents(secret, key);
                let what = "revocation lists";
                client.revocations = revocations(pem).ok_or_else(|| {
                    let secret = label.clone();
                    at_field(ContentsError::Pem { secret, key, what })
                })?;
            }
        }
        if let Some(file) = settings.client.ca_crl.as_ref() {
            let at_field = |error| ("caCrl".to_owned(), error);
            let file = PemFile::new(file.as_str());
            let pem = self.file(&file).map_err(at_field)?;
            let lists = revocations(&pem).ok_or_else(|| {
                let what = "revocation lists";
                let file = file.path();
                at_field(ContentsError::File(TlsError::Pem { file, what }))
            })?;
            client.revocations.extend(lists);
        }
        Ok(client)
    }

    /// The Secret with the authorities of clients: the one that the settings name, the one
    /// beside the certificate, or that of the certificate itself.
    fn authorities(&self, tls: &ListenerTls) -> Located<(String, String, &Secret)> {
        if let Some(name) = &tls.settings.client.ca_credential {
            let field = "caCertCredentialName".to_owned();
            return match self.secrets.get(&tls.namespace, name) {
                Ok(secret) => Ok((field, format!("{}/{name}", tls.namespace), secret)),
                Err(error) => Err((field, error)),
            };
        }
        let mut secrets = tls
            .settings
            .certificates
            .iter()
            .filter_map(|it| match &it.source {
                CertificateSource::Secret { name, namespace } => {
                    let namespace = namespace.as_ref().unwrap_or(&tls.namespace);
                    Some((it.field.clone(), namespace.as_str(), name.as_str()))
                }
                CertificateSource::Files { .. } => None,
            });
        let Some((field, namespace, name)) = secrets.next() else {
            let error = ContentsError::NoSecret("with the authorities of clients".to_owned());
            return Err(("caCertificates".to_owned(), error));
        };
        let separate = format!("{name}{AUTHORITIES_SUFFIX}");
        if let Ok(secret) = self.secrets.get(namespace, &separate) {
            return Ok((field, format!("{namespace}/{separate}"), secret));
        }
        match self.secrets.get(namespace, name) {
            Ok(secret) => Ok((field, format!("{namespace}/{name}"), secret)),
            Err(error) => Err((field, error)),
        }
    }

    fn file(&mut self, file: &PemFile) -> Result<Vec<u8>, ContentsError> {
        let read = file.read();
        let digest = read
            .as_ref()
            .ok()
            .map(|contents| Sha256::digest(contents).into());
        self.files.push((file.clone(), digest));
        read.map_err(ContentsError::File)
    }
}

impl ServerContents {
    pub(super) fn certificates_digest(&self) -> Digest {
        let mut digest = Sha256::new();
        for certificate in &self.certificates {
            for part in &certificate.chain {
                add(&mut digest, part);
            }
            add(&mut digest, certificate.key.secret_der());
        }
        digest.finalize().into()
    }

    /// Of everything but the certificates.
    pub(super) fn policy_digest(&self, settings: &ServerTls) -> Digest {
        let mut digest = Sha256::new();
        add(&mut digest, settings.mode.name().as_bytes());
        let client = &settings.client;
        let written = format!("{:?} {:?}", settings.versions, settings.cipher_suites);
        add(&mut digest, written.as_bytes());
        for name in &client.subject_alt_names {
            add(&mut digest, name.as_bytes());
        }
        for hash in client.public_keys.iter().chain(&client.certificates) {
            add(&mut digest, hash);
        }
        for authority in &self.client.authorities {
            add(&mut digest, authority);
        }
        for list in &self.client.revocations {
            add(&mut digest, list);
        }
        digest.finalize().into()
    }
}

fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

fn contents<'a>(secret: &'a Secret, key: &str) -> &'a [u8] {
    secret.data.get(key).map_or(&[], |value| value.expose())
}

fn certificates(
    secret: &Secret,
    label: &str,
    key: &'static str,
) -> Result<Vec<CertificateDer<'static>>, ContentsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(contents(secret, key)).collect();
    let all = all.ok().filter(|all| !all.is_empty());
    all.ok_or_else(|| ContentsError::Pem {
        secret: label.to_owned(),
        key,
        what: "certificates",
    })
}

fn private_key(
    secret: &Secret,
    label: &str,
    key: &'static str,
) -> Result<PrivateKeyDer<'static>, ContentsError> {
    PrivateKeyDer::from_pem_slice(contents(secret, key)).map_err(|_| ContentsError::Pem {
        secret: label.to_owned(),
        key,
        what: "a private key",
    })
}

/// None if there is none, or one of them is malformed.
fn revocations(pem: &[u8]) -> Option<Vec<CertificateRevocationListDer<'static>>> {
    let all = CertificateRevocationListDer::pem_slice_iter(pem);
    let all: Vec<_> = all.collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}
