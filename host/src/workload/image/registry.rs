//! Pulling components from registries.
//!
//! Downloads are limited in size and time, and are checked against their digest before they
//! are stored. Registries are accessed with HTTPS; plain HTTP is only for loopback and for
//! the hosts of `--registry-insecure`. Redirects from HTTPS to HTTP and the proxies of the
//! environment are not used.
//!
//! There is no push and no list.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use galleria_manifest::model::PullPolicy;
use oci_spec::image::Digest;
use reqwest::{Certificate, StatusCode};
use tracing::{Instrument, Span};

use super::artifact::{self, ArtifactError, MANIFEST_MAX, Next};
use super::credentials::Login;
use super::digest;
use super::distribution::{DistributionError, Repository};
use super::layout::{ComponentFile, signature_tag};
use super::pulled::{PulledImage, PulledImages};
use super::reference::Reference;
use super::verify::{PAYLOAD_MAX, Signature};
use crate::guest::COMPONENT_FILE_MAX;
use crate::settings::image::RegistrySettings;
use crate::telemetry::trace::control::{ControlSpan, control_span};
use crate::telemetry::trace::{attributes, spans};

/// For one image, from the first request to the last byte: 256 MiB at 1 MiB/s.
const PULL_MAX: Duration = Duration::from_secs(300);
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Between two reads of a response.
const READ_MAX: Duration = Duration::from_secs(30);

/// Registries redirect to the storage of their blobs, which takes one or two redirects.
const REDIRECTS_MAX: usize = 10;

/// Manifests and indexes, of OCI and of its predecessor Docker.
const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json";

#[derive(Debug)]
pub(super) struct Registries {
    settings: RegistrySettings,
    pulled: PulledImages,
}

/// Why an image cannot be pulled. The messages begin with the kubelet's reasons.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error(
        "ErrImageNeverPull: it is not present, and imagePullPolicy is Never; set it to IfNotPresent, or put the component into the components folder"
    )]
    Never,
    #[error(
        "ErrImagePull: the registry `{host}` denies {who} access to the image; name a Secret of type kubernetes.io/dockerconfigjson with a login for `{host}` in imagePullSecrets"
    )]
    Unauthorized { host: String, who: String },
    #[error(
        "ErrImagePull: the registry `{host}` does not have the image; check the name and the tag, or push it"
    )]
    NotFound { host: String },
    #[error(
        "ErrImagePull: the registry `{host}` cannot be reached; check its name, for a private certificate authority see --registry-ca, for plain HTTP --registry-insecure"
    )]
    Unreachable {
        host: String,
        source: DistributionError,
    },
    #[error("ErrImagePull: the registry `{host}` redirects too many times, or from HTTPS to HTTP")]
    Redirect { host: String },
    #[error(
        "ErrImagePull: the registry `{host}` rejects the request as bad; if it speaks HTTPS, do not name it in --registry-insecure"
    )]
    BadRequest { host: String },
    #[error(
        "ErrImagePull: the registry `{host}` took more than {} s, or was silent for {} s",
        PULL_MAX.as_secs(), READ_MAX.as_secs()
    )]
    Timeout { host: String },
    #[error("ErrImagePull: the registry `{host}` failed; try again later")]
    Failed {
        host: String,
        source: DistributionError,
    },
    #[error("ErrImagePull: {0}")]
    Artifact(#[from] ArtifactError),
    #[error("ErrImagePull: its indexes are nested too deeply")]
    Depth,
    #[error("ErrImagePull: its {what} exceeds the limit of {max} bytes")]
    TooLarge { what: &'static str, max: u64 },
    #[error(
        "ErrImagePull: the content does not match {digest}; it was altered or truncated in transit"
    )]
    Digest { digest: Digest },
    #[error("ErrImagePull: cannot store it in the data folder")]
    Keep(#[from] std::io::Error),
    #[error("cannot use --registry-ca")]
    Client(#[source] reqwest::Error),
}

impl PullError {
    /// Whether a later attempt may succeed.
    pub(super) fn is_transient(&self) -> bool {
        !matches!(self, Self::Never | Self::Client(_))
    }
}

impl Registries {
    /// Pulled images are stored in `folder`.
    pub(super) fn new(settings: RegistrySettings, folder: PathBuf) -> Self {
        // The process has one TLS provider; it may be installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            settings,
            pulled: PulledImages::new(folder),
        }
    }

    /// The component of `image`, pulled according to its policy. Blocks: call it outside of
    /// asynchronous tasks, but with access to the runtime.
    pub(super) fn pull(
        &self,
        image: &Reference,
        host: &str,
        policy: Option<PullPolicy>,
        logins: &[Login],
    ) -> Result<ComponentFile, PullError> {
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
        let span = control_span!(spans::PULL);
        span.describe(attributes::IMAGE, image);
        let wanted = Wanted::Component(kept.as_ref());
        let fetching = self.fetch(image, host, wanted, logins);
        let fetching = fetching.instrument(span.clone());
        let fetched = tokio::runtime::Handle::current().block_on(fetching);
        match (fetched, kept) {
            (Ok(()), _) => {
                let kept = self.pulled.find(&image.to_string());
                let lost = || std::io::Error::other("it was removed in the meantime");
                Ok(kept.ok_or_else(lost)?.component)
            }
            // An unavailable registry must not stop a pod whose image is stored already.
            (
                Err(
                    error @ (PullError::Unreachable { .. }
                    | PullError::Redirect { .. }
                    | PullError::Failed { .. }
                    | PullError::Timeout { .. }),
                ),
                Some(kept),
            ) => {
                span.set(attributes::RESULT, "kept");
                tracing::warn!(%image, digest = %kept.digest, "using the previously pulled image: {error}");
                Ok(kept.component)
            }
            (Err(error), _) => {
                span.fail("ErrImagePull", &error);
                Err(error)
            }
        }
    }

    /// The signatures of `manifests` that were fetched before.
    pub(super) fn signatures(&self, manifests: &[Digest]) -> Vec<Signature> {
        self.pulled.signatures(manifests)
    }

    /// Fetches and stores the signatures of `manifests`. Blocks, like [`Self::pull`].
    pub(super) fn fetch_signatures(
        &self,
        image: &Reference,
        host: &str,
        manifests: &[Digest],
        logins: &[Login],
    ) -> Result<(), PullError> {
        let wanted = Wanted::Signatures(manifests);
        let fetching = self.fetch(image, host, wanted, logins);
        tokio::runtime::Handle::current().block_on(fetching)
    }

    async fn fetch(
        &self,
        image: &Reference,
        host: &str,
        wanted: Wanted<'_>,
        logins: &[Login],
    ) -> Result<(), PullError> {
        let fetch = self.fetch_as_anyone(image, host, wanted, logins);
        tokio::time::timeout(PULL_MAX, fetch)
            .await
            .unwrap_or_else(|_| Err(PullError::Timeout { host: host.into() }))
    }

    /// Tries each login, and both schemes if `host` is loopback.
    async fn fetch_as_anyone(
        &self,
        image: &Reference,
        host: &str,
        wanted: Wanted<'_>,
        logins: &[Login],
    ) -> Result<(), PullError> {
        if self.is_insecure(host) {
            let plain = Scheme::Http;
            return self.fetch_by(plain, image, host, wanted, logins).await;
        }
        let secure = Scheme::Https;
        match self.fetch_by(secure, image, host, wanted, logins).await {
            Err(unreachable @ PullError::Unreachable { .. }) if is_this_machine(host) => {
                let plain = Scheme::Http;
                match self.fetch_by(plain, image, host, wanted, logins).await {
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
        scheme: Scheme,
        image: &Reference,
        host: &str,
        wanted: Wanted<'_>,
        logins: &[Login],
    ) -> Result<(), PullError> {
        let mut outcome = Err(PullError::NotFound { host: host.into() });
        for login in anyone(logins) {
            let registry = self.registry(host, scheme, &image.repository, login)?;
            outcome = match wanted {
                Wanted::Component(kept) => registry.fetch(image, kept).await,
                Wanted::Signatures(manifests) => registry.fetch_signatures(image, manifests).await,
            };
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
        scheme: Scheme,
        repository: &str,
        login: Option<&Login>,
    ) -> Result<Registry<'a>, PullError> {
        let origin = match scheme {
            Scheme::Https => format!("https://{host}"),
            Scheme::Http => format!("http://{host}"),
        };
        let who = match login {
            Some(login) => format!("`{}`", login.username),
            None => "anonymous users".to_owned(),
        };
        let http = self.client(scheme).map_err(PullError::Client)?;
        Ok(Registry {
            host,
            repository: Repository::new(http, &origin, repository, login.cloned()),
            who,
            pulled: &self.pulled,
        })
    }

    fn client(&self, scheme: Scheme) -> reqwest::Result<reqwest::Client> {
        let mut client = reqwest::Client::builder()
            .https_only(scheme == Scheme::Https)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::limited(REDIRECTS_MAX))
            .referer(false)
            .connect_timeout(CONNECT_MAX)
            .read_timeout(READ_MAX)
            .user_agent(concat!("galleria/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &self.settings.ca {
            client = client.tls_certs_merge(Certificate::from_pem_bundle(pem)?);
        }
        client.build()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Http,
}

/// What is fetched.
#[derive(Debug, Clone, Copy)]
enum Wanted<'a> {
    /// The image, unless it is the one that is stored already.
    Component(Option<&'a PulledImage>),
    /// The signatures of these manifests.
    Signatures(&'a [Digest]),
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

/// The manifest of a component, after the indexes that lead to it, with what it points to.
struct Manifests {
    chain: Vec<(Digest, Bytes)>,
    component: Digest,
    size: u64,
}

/// One repository of a registry, accessed as one user.
struct Registry<'a> {
    host: &'a str,
    repository: Repository,
    /// For messages.
    who: String,
    pulled: &'a PulledImages,
}

impl Registry<'_> {
    /// Pulls the image unless it is stored already.
    async fn fetch(&self, image: &Reference, kept: Option<&PulledImage>) -> Result<(), PullError> {
        let began = Instant::now();
        let Manifests {
            chain,
            component,
            size,
        } = self.manifests(image).await?;
        let (digest, root) = chain.first().ok_or(PullError::Depth)?;
        let span = Span::current();
        span.describe(attributes::DIGEST, digest);
        if kept.is_some_and(|kept| kept.digest == *digest) {
            span.set(attributes::RESULT, "unchanged");
            return Ok(());
        }
        if size > COMPONENT_FILE_MAX {
            return Err(PullError::TooLarge {
                what: "component",
                max: COMPONENT_FILE_MAX,
            });
        }
        if !self.pulled.has(&component) {
            self.blob(&component, size).await?;
        }
        for (digest, manifest) in &chain {
            self.put(manifest, digest)?;
        }
        self.pulled
            .keep(&image.to_string(), digest, root.len() as u64)?;
        let seconds = began.elapsed().as_secs_f32();
        span.set(attributes::RESULT, "pulled");
        span.set(attributes::BYTES, i64::try_from(size).unwrap_or(i64::MAX));
        tracing::info!(%image, %digest, bytes = size, seconds, "pulled");
        Ok(())
    }

    /// Fetches the manifest of the component, following an index if there is one.
    async fn manifests(&self, image: &Reference) -> Result<Manifests, PullError> {
        let mut wanted = image.digest.clone();
        let mut chain = Vec::new();
        for _ in 0..2 {
            let reference = wanted.as_ref().map_or(image.tag(), Digest::as_ref);
            let manifest = self
                .repository
                .manifest(reference, ACCEPTED, MANIFEST_MAX)
                .await
                .map_err(|error| self.failure(error))?;
            let digest = digest::of(&manifest);
            if let Some(wanted) = wanted.filter(|wanted| *wanted != digest) {
                return Err(PullError::Digest { digest: wanted });
            }
            let next = artifact::next(&manifest)?;
            chain.push((digest, manifest));
            match next {
                Next::Component(component, size) => {
                    return Ok(Manifests {
                        chain,
                        component,
                        size,
                    });
                }
                Next::Manifest(next) => wanted = Some(next),
            }
        }
        Err(PullError::Depth)
    }

    /// Fetches the signatures of `manifests` from where cosign stores them: under a tag that
    /// is made from the digest. An image without signatures has no such tag.
    async fn fetch_signatures(
        &self,
        image: &Reference,
        manifests: &[Digest],
    ) -> Result<(), PullError> {
        for signed in manifests {
            let tag = signature_tag(signed);
            let manifest = self.repository.manifest(&tag, ACCEPTED, MANIFEST_MAX).await;
            let manifest = match manifest.map_err(|error| self.failure(error)) {
                Err(PullError::NotFound { .. }) => continue,
                manifest => manifest?,
            };
            for layer in artifact::signatures(&manifest)? {
                if layer.size() > PAYLOAD_MAX {
                    return Err(PullError::TooLarge {
                        what: "signed document",
                        max: PAYLOAD_MAX,
                    });
                }
                let payload = artifact::digest_of(&layer)?;
                if !self.pulled.has(&payload) {
                    self.blob(&payload, layer.size()).await?;
                }
            }
            let digest = digest::of(&manifest);
            self.put(&manifest, &digest)?;
            let name = format!("{}/{}:{tag}", self.host, image.repository);
            self.pulled.keep(&name, &digest, manifest.len() as u64)?;
        }
        Ok(())
    }

    fn put(&self, manifest: &[u8], digest: &Digest) -> Result<(), PullError> {
        match self.pulled.put(manifest, digest)? {
            true => Ok(()),
            false => Err(PullError::Digest {
                digest: digest.clone(),
            }),
        }
    }

    /// Pulls the blob `digest`, whose size is `size` bytes according to its manifest.
    async fn blob(&self, digest: &Digest, size: u64) -> Result<(), PullError> {
        let altered = || PullError::Digest {
            digest: digest.clone(),
        };
        let blob = self.repository.blob(digest).await;
        let mut blob = blob.map_err(|error| self.failure(error))?;
        let mut incoming = self.pulled.begin()?;
        let mut received = 0;
        while let Some(piece) = blob
            .chunk()
            .await
            .map_err(|error| self.failure(error.into()))?
        {
            received += piece.len() as u64;
            if received > size {
                return Err(altered());
            }
            incoming.write(&piece)?;
        }
        if self.pulled.finish(incoming, digest)? {
            Ok(())
        } else {
            Err(altered())
        }
    }

    fn failure(&self, error: DistributionError) -> PullError {
        let host = self.host.to_owned();
        match error {
            DistributionError::Status(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                PullError::Unauthorized {
                    host,
                    who: self.who.clone(),
                }
            }
            DistributionError::Status(StatusCode::NOT_FOUND) => PullError::NotFound { host },
            DistributionError::Status(StatusCode::BAD_REQUEST) => PullError::BadRequest { host },
            DistributionError::TooLong { what, max } => PullError::TooLarge { what, max },
            DistributionError::Request(error) if error.is_redirect() => {
                PullError::Redirect { host }
            }
            DistributionError::Request(error) if error.is_timeout() && !error.is_connect() => {
                PullError::Timeout { host }
            }
            source @ DistributionError::Request(_) => PullError::Unreachable { host, source },
            source => PullError::Failed { host, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paused clock advances as soon as every task waits.
    #[tokio::test(start_paused = true)]
    async fn silent_registry_times_out() {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let socket = socket.expect("a port");
        let host = socket.local_addr().expect("its address").to_string();
        let folder = tempfile::tempdir().expect("a folder");
        let settings = RegistrySettings {
            ca: None,
            insecure: vec![host.clone()],
        };
        let registries = Registries::new(settings, folder.path().into());
        let image = Reference::parse(&format!("{host}/shop/hello:v1")).expect("a name");
        let began = tokio::time::Instant::now();
        let fetched = registries.fetch_as_anyone(&image, &host, Wanted::Component(None), &[]);
        let (fetched, _silent) = tokio::join!(fetched, socket.accept());
        assert!(
            matches!(fetched, Err(PullError::Timeout { .. })),
            "{fetched:?}"
        );
        assert!(began.elapsed() <= READ_MAX * 2);
    }

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
