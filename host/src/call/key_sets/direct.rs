//! Key sets of hosts that are not declared in the mesh: only from public addresses, so that a
//! policy cannot make the host call into its own network. The server's certificate must be of
//! an authority that the system trusts. Redirects are not followed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use galleria_manifest::limits::JWKS_BYTES_MAX;
use galleria_mesh::{AddressRules, RefusedAddress};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

/// How long a connection can take; the whole fetch has a limit of its own.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// Connections are for one or two requests in five minutes.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// The client, made when the first set is fetched.
#[derive(Default)]
pub(super) struct Direct(OnceLock<Option<reqwest::Client>>);

/// Why a server gave no key set.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectError {
    #[error("the client cannot be created")]
    Client,
    #[error(transparent)]
    Address(#[from] RefusedAddress),
    #[error("no response")]
    Request(#[source] reqwest::Error),
    #[error("the server replied {0}")]
    Status(reqwest::StatusCode),
    #[error("the reply is larger than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
}

impl Direct {
    /// The body at `url`.
    pub(super) async fn get(&self, url: &str) -> Result<Vec<u8>, DirectError> {
        let client = self.0.get_or_init(|| client().ok()).as_ref();
        let request = client.ok_or(DirectError::Client)?.get(url);
        let request = request.build().map_err(DirectError::Request)?;
        // The resolver does not see addresses that are written in the URL.
        let host = request.url().host_str().unwrap_or_default();
        AddressRules::public().check_host(host)?;
        let client = client.ok_or(DirectError::Client)?;
        let response = client.execute(request).await;
        let mut response = response.map_err(DirectError::Request)?;
        if !response.status().is_success() {
            return Err(DirectError::Status(response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(DirectError::Request)? {
            if body.len() + chunk.len() > JWKS_BYTES_MAX {
                return Err(DirectError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn client() -> reqwest::Result<reqwest::Client> {
    // An error means that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_MAX)
        .pool_idle_timeout(IDLE_MAX)
        .dns_resolver(Arc::new(PublicAddresses))
        .user_agent(concat!("galleria/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Resolves names to their public addresses.
struct PublicAddresses;

impl Resolve for PublicAddresses {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public = AddressRules::public().usable(found)?;
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}
