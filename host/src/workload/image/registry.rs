//! Pulling components from registries.
//!
//! What comes in is bounded in size and time and is checked against its digest
//! before it has a name. A registry is spoken to by HTTPS; plain HTTP is for
//! this machine and for hosts that `--registry-insecure` names. A redirect to
//! the other scheme is not followed. Proxies of the environment are not used.
//!
//! It pushes nothing and lists nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt;
use galleria_manifest::model::PullPolicy;
use oci_client::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference as Remote};

use super::artifact::{self, ArtifactError, Next};
use super::credentials::Login;
use super::layout::Found;
use super::pulled::{Kept, Pulled};
use super::reference::{Digest, Reference};
use crate::guest::COMPONENT_FILE_MAX;

/// For one image, from the first question to the last byte: 256 MiB at 1 MiB/s.
const PULL_MAX: Duration = Duration::from_secs(300);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_MAX: Duration = Duration::from_secs(30);

/// Nothing can listen here: what is sent to this proxy goes nowhere.
const NOWHERE: &str = "http://127.0.0.1:0";

const ACCEPTED: &[&str] = &[
    OCI_IMAGE_MEDIA_TYPE,
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
];

/// How registries are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegistrySettings {
    /// An authority that is trusted besides the system's: PEM.
    pub ca: Option<Vec<u8>>,
    /// Hosts, with their ports, that are spoken to by plain HTTP.
    pub insecure: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Registries {
    settings: RegistrySettings,
    pulled: Pulled,
}

/// Why an image could not be had, in the kubelet's words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error(
        "ErrImageNeverPull: it was not pulled before, and imagePullPolicy is Never; let it be IfNotPresent, or put the component into the components folder"
    )]
    Never,
    #[error(
        "ErrImagePull: the registry `{host}` does not give it to {who}; name a Secret of type kubernetes.io/dockerconfigjson with a login for `{host}` in imagePullSecrets"
    )]
    Unauthorized { host: String, who: String },
    #[error(
        "ErrImagePull: the registry `{host}` does not have it; check the name and the tag, or push it"
    )]
    NotFound { host: String },
    #[error(
        "ErrImagePull: the registry `{host}` cannot be reached; check its name, for an authority of your own see --registry-ca, for plain HTTP --registry-insecure"
    )]
    Unreachable {
        host: String,
        source: OciDistributionError,
    },
    #[error(
        "ErrImagePull: the registry `{host}` answers that the request is bad; if it speaks HTTPS, do not name it in --registry-insecure"
    )]
    BadRequest { host: String },
    #[error("ErrImagePull: the registry `{host}` took more than {} s", PULL_MAX.as_secs())]
    Timeout { host: String },
    #[error("ErrImagePull: the registry `{host}` failed; try again later")]
    Failed {
        host: String,
        source: OciDistributionError,
    },
    #[error("ErrImagePull: {0}")]
    Artifact(#[from] ArtifactError),
    #[error("ErrImagePull: its indexes lead to indexes without end")]
    Depth,
    #[error(
        "ErrImagePull: its component has more than the {COMPONENT_FILE_MAX} bytes that are allowed"
    )]
    TooLarge,
    #[error("ErrImagePull: what came is not {digest}; it was altered or cut short on its way")]
    Digest { digest: Digest },
    #[error("ErrImagePull: it cannot be kept in the data folder")]
    Keep(#[from] std::io::Error),
    #[error("--registry-ca cannot be used")]
    Client(#[source] OciDistributionError),
}

impl Registries {
    /// What is pulled is kept in `folder`.
    pub(super) fn new(settings: RegistrySettings, folder: PathBuf) -> Self {
        // The process has one provider of TLS; the first to say so wins.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            settings,
            pulled: Pulled::new(folder),
        }
    }

    /// The component of `image`, pulled as its policy wants it. Waits: not for
    /// an asynchronous task, but within reach of the runtime.
    pub(super) fn pull(
        &self,
        image: &Reference,
        host: &str,
        policy: Option<PullPolicy>,
        logins: &[Login],
    ) -> Result<Found, PullError> {
        let kept = self.pulled.find(&image.to_string());
        let default = if image.is_latest() {
            PullPolicy::Always
        } else {
            PullPolicy::IfNotPresent
        };
        let kept = match (policy.unwrap_or(default), kept) {
            (PullPolicy::Never | PullPolicy::IfNotPresent, Some(kept)) => return Ok(kept.component),
            (PullPolicy::Never, None) => return Err(PullError::Never),
            (_, kept) => kept,
        };
        let fetched = tokio::runtime::Handle::current().block_on(async {
            let fetch = self.fetch_as_anyone(image, host, kept.as_ref(), logins);
            tokio::time::timeout(PULL_MAX, fetch)
                .await
                .unwrap_or_else(|_| Err(PullError::Timeout { host: host.into() }))
        });
        match (fetched, kept) {
            (Ok(()), _) => {
                let kept = self.pulled.find(&image.to_string());
                let lost = || std::io::Error::other("it is gone again");
                Ok(kept.ok_or_else(lost)?.component)
            }
            // A registry that is down stops nothing that was pulled before.
            (
                Err(
                    error @ (PullError::Unreachable { .. }
                    | PullError::Failed { .. }
                    | PullError::Timeout { .. }),
                ),
                Some(kept),
            ) => {
                tracing::warn!(%image, digest = %kept.digest, "what was pulled before is used: {error}");
                Ok(kept.component)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Tries each login, and both schemes where this machine is asked.
    async fn fetch_as_anyone(
        &self,
        image: &Reference,
        host: &str,
        kept: Option<&Kept>,
        logins: &[Login],
    ) -> Result<(), PullError> {
        if self.is_insecure(host) {
            let plain = ClientProtocol::Http;
            return self.fetch_by(plain, image, host, kept, logins).await;
        }
        let secure = ClientProtocol::Https;
        match self.fetch_by(secure, image, host, kept, logins).await {
            Err(unreachable @ PullError::Unreachable { .. }) if is_this_machine(host) => {
                let plain = ClientProtocol::Http;
                match self.fetch_by(plain, image, host, kept, logins).await {
                    Err(PullError::Unreachable { .. } | PullError::BadRequest { .. }) => {
                        Err(unreachable)
                    }
                    fetched => fetched,
                }
            }
            fetched => fetched,
        }
    }

    async fn fetch_by(
        &self,
        protocol: ClientProtocol,
        image: &Reference,
        host: &str,
        kept: Option<&Kept>,
        logins: &[Login],
    ) -> Result<(), PullError> {
        let mut outcome = Err(PullError::NotFound { host: host.into() });
        for login in anyone(logins) {
            let registry = self.registry(host, protocol.clone(), login)?;
            outcome = registry.fetch(image, kept).await;
            if !matches!(outcome, Err(PullError::Unauthorized { .. })) {
                break;
            }
        }
        outcome
    }

    fn is_insecure(&self, host: &str) -> bool {
        self.settings
            .insecure
            .iter()
            .any(|insecure| insecure == host)
    }

    fn registry<'a>(
        &'a self,
        host: &'a str,
        protocol: ClientProtocol,
        login: Option<&Login>,
    ) -> Result<Registry<'a>, PullError> {
        let ca = self.settings.ca.iter().map(|pem| Certificate {
            encoding: CertificateEncoding::Pem,
            data: pem.clone(),
        });
        let (http_proxy, https_proxy) = match protocol {
            ClientProtocol::Http => (None, Some(NOWHERE.to_owned())),
            _ => (Some(NOWHERE.to_owned()), None),
        };
        let client = Client::try_from(ClientConfig {
            protocol,
            extra_root_certificates: ca.collect(),
            connect_timeout: Some(CONNECT_MAX),
            read_timeout: Some(READ_MAX),
            user_agent: concat!("galleria/", env!("CARGO_PKG_VERSION")),
            http_proxy,
            https_proxy,
            ..ClientConfig::default()
        })
        .map_err(PullError::Client)?;
        let (login, who) = match login {
            Some(Login { username, password }) => (
                RegistryAuth::Basic(username.clone(), password.clone()),
                format!("`{username}`"),
            ),
            None => (RegistryAuth::Anonymous, "strangers".to_owned()),
        };
        Ok(Registry {
            host,
            client,
            login,
            who,
            pulled: &self.pulled,
        })
    }
}

fn anyone(logins: &[Login]) -> Vec<Option<&Login>> {
    if logins.is_empty() {
        vec![None]
    } else {
        logins.iter().map(Some).collect()
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    name == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// One registry, asked as one user.
struct Registry<'a> {
    host: &'a str,
    client: Client,
    login: RegistryAuth,
    /// For messages.
    who: String,
    pulled: &'a Pulled,
}

impl Registry<'_> {
    /// Pulls what is not kept yet.
    async fn fetch(&self, image: &Reference, kept: Option<&Kept>) -> Result<(), PullError> {
        let began = Instant::now();
        let remote = self.remote(image);
        let (manifest, digest, component, size) = self.manifest(remote.clone()).await?;
        if kept.is_some_and(|kept| kept.digest == digest) {
            return Ok(());
        }
        if size > COMPONENT_FILE_MAX {
            return Err(PullError::TooLarge);
        }
        if !self.pulled.has(&component) {
            self.blob(&remote, &component).await?;
        }
        if !self.pulled.put(&manifest, &digest)? {
            return Err(PullError::Digest { digest });
        }
        self.pulled
            .keep(&image.to_string(), &digest, manifest.len() as u64)?;
        let seconds = began.elapsed().as_secs_f32();
        tracing::info!(%image, %digest, bytes = size, seconds, "pulled");
        Ok(())
    }

    /// The manifest of the component, through an index if there is one; its
    /// digest, the component's, and the component's size.
    async fn manifest(
        &self,
        mut remote: Remote,
    ) -> Result<(bytes::Bytes, Digest, Digest, u64), PullError> {
        for _ in 0..2 {
            let pulled = self
                .client
                .pull_manifest_raw(&remote, &self.login, ACCEPTED)
                .await;
            let (manifest, _) = pulled.map_err(|error| self.failure(error))?;
            match artifact::next(&manifest)? {
                Next::Component(component, size) => {
                    let digest = Digest::of(&manifest);
                    return Ok((manifest, digest, component, size));
                }
                Next::Manifest(next) => {
                    remote = remote.clone_with_digest(next.to_string());
                }
            }
        }
        Err(PullError::Depth)
    }

    async fn blob(&self, remote: &Remote, digest: &Digest) -> Result<(), PullError> {
        let stream = self.client.pull_blob_stream(remote, digest.as_str()).await;
        let mut stream = stream.map_err(|error| self.failure(error))?;
        let mut incoming = self.pulled.begin()?;
        let mut size = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(|source| self.broken(source, digest))?;
            size += piece.len() as u64;
            if size > COMPONENT_FILE_MAX {
                return Err(PullError::TooLarge);
            }
            incoming.write(&piece)?;
        }
        if self.pulled.finish(incoming, digest)? {
            Ok(())
        } else {
            let digest = digest.clone();
            Err(PullError::Digest { digest })
        }
    }

    fn remote(&self, image: &Reference) -> Remote {
        let (host, repository) = (self.host.to_owned(), image.repository.clone());
        match &image.digest {
            Some(digest) => Remote::with_digest(host, repository, digest.to_string()),
            None => Remote::with_tag(host, repository, image.tag().to_owned()),
        }
    }

    /// The library tells of a wrong digest by an error of reading.
    fn broken(&self, error: std::io::Error, digest: &Digest) -> PullError {
        let cause = error.get_ref();
        if cause.is_some_and(|cause| cause.is::<DigestError>()) {
            let digest = digest.clone();
            return PullError::Digest { digest };
        }
        self.failure(error.into())
    }

    fn failure(&self, error: OciDistributionError) -> PullError {
        use oci_client::errors::OciErrorCode as Code;
        let host = self.host.to_owned();
        let is_code = |wanted: &[Code]| match &error {
            OciDistributionError::RegistryError { envelope, .. } => {
                envelope.errors.iter().any(|it| wanted.contains(&it.code))
            }
            _ => false,
        };
        if let OciDistributionError::DigestError(DigestError::VerificationError {
            expected, ..
        }) = &error
            && let Some(digest) = Digest::parse(expected)
        {
            return PullError::Digest { digest };
        }
        let status = match &error {
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => 401,
            OciDistributionError::ServerError { code, .. } => *code,
            _ if is_code(&[Code::Unauthorized, Code::Denied]) => 401,
            _ if is_code(&[Code::ManifestUnknown, Code::NameUnknown, Code::NotFound]) => 404,
            _ => 0,
        };
        match (status, error) {
            (401 | 403, _) => PullError::Unauthorized {
                host,
                who: self.who.clone(),
            },
            (404, _) => PullError::NotFound { host },
            (400, _) => PullError::BadRequest { host },
            (_, source @ OciDistributionError::RequestError(_)) => {
                PullError::Unreachable { host, source }
            }
            (_, source) => PullError::Failed { host, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_this_machine;

    #[test]
    fn only_loopback_is_this_machine() {
        for host in [
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.8.8",
            "[::1]:5000",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["localhost.example", "10.0.0.1:5000", "registry.example"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
