//! Key sets of hosts that are not declared in the mesh: only from public addresses, so that a
//! policy cannot make the host call into its own network. The server's certificate must be of
//! an authority that the system trusts. Redirects are not followed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use galleria_manifest::limits::JWKS_BYTES_MAX;
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
    #[error("the address is not public")]
    NotPublic,
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
        let address = host.trim_matches(['[', ']']).parse();
        if address.is_ok_and(|address| !is_public(address)) {
            return Err(DirectError::NotPublic);
        }
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
            let public: Vec<SocketAddr> = found.filter(|it| is_public(it.ip())).collect();
            if public.is_empty() {
                return Err(DirectError::NotPublic.into());
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is outside of every private network and of this machine.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => {
            let [first, second, third, fourth, fifth, sixth, high, low] = address.segments();
            let embedded = Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
            match [first, second, third, fourth, fifth, sixth] {
                // Written as an address of IPv4, and translated to one.
                [0, 0, 0, 0, 0, 0 | 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => is_public_v4(embedded),
                // Global unicast, without documentation and 6to4.
                _ => {
                    first & 0xe000 == 0x2000
                        && first != 0x2002
                        && [first, second] != [0x2001, 0xdb8]
                }
            }
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && second & 0xc0 == 64;
    let is_benchmark = first == 198 && second & 0xfe == 18;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || is_benchmark
        || first == 0
        || first >= 224)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_called() {
        for (address, expected) in [
            ("8.8.8.8", true),
            ("2606:4700::1111", true),
            ("::ffff:8.8.8.8", true),
            ("64:ff9b::808:808", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("169.254.169.254", false),
            ("192.0.2.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("2002:a9fe:a9fe::", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
        ] {
            let parsed = address.parse().expect("an address");
            assert_eq!(is_public(parsed), expected, "{address}");
        }
    }
}
