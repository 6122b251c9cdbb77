//! The keys of the issuers of tokens: fetched when a token needs them, and kept.
//!
//! When to fetch is decided in `galleria_mesh::inbound::jwt`. A host that is declared in the
//! mesh is called by the workload that needs the keys, under all rules of the mesh; any other
//! one over a client of its own ([`direct`]). A request waits only for the keys of its own
//! token, and no longer than a fetch can take. There is one fetch of a set at a time.

mod direct;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, join_all};
use galleria_manifest::limits::JWKS_BYTES_MAX;
use galleria_mesh as mesh;
use galleria_mesh::inbound::jwt::{
    self, Authenticated, KeySet, KeySetCache, KeySetError, RemoteKeySet, TokenDecision, TokenTime,
};
use galleria_mesh::inbound::{InboundPolicies, InboundRequest};
use galleria_mesh::{Caller, LocalReply, RequestHead};
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use tokio::time::timeout;

use self::direct::{Direct, DirectError};
use super::{Call, Mesh, Source};
use crate::Request;
use crate::body::{Count, Rest, empty};
use crate::causes::with_causes;
use crate::context::{REQUEST_ID, RequestContext, request_id};

/// How often a request waits for keys: its token can name a key that only a second fetch has.
const WAITS_MAX: usize = 2;

/// What a request waits beyond the time of a fetch, which ends by itself.
const GRACE: Duration = Duration::from_millis(500);

/// The key sets of all issuers.
#[derive(Default)]
pub(crate) struct KeySets {
    cache: KeySetCache,
    /// By URL.
    running: Mutex<HashMap<String, Shared<BoxFuture<'static, ()>>>>,
    direct: Direct,
}

/// Why a key set was not fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("its URL is invalid")]
    Url(#[source] http::Error),
    #[error("the server replied {0}")]
    Status(http::StatusCode),
    #[error("the reply ended early or is larger than {JWKS_BYTES_MAX} bytes")]
    Body,
    #[error("it took longer than {0:?}")]
    Timeout(Duration),
    #[error("the reply is not a key set that this host can use: {0:?}")]
    KeySet(KeySetError),
    #[error("the OpenID configuration has no `jwks_uri`")]
    Discovery,
    #[error(
        "no connection; if the host is inside a private network, declare it with a ServiceEntry"
    )]
    Direct(#[from] DirectError),
}

/// Verifies the tokens of a request, and waits for keys that are absent.
///
/// # Errors
/// The reply for a request that is not admitted.
pub(super) async fn authenticate(
    mesh: &Arc<Mesh>,
    workload: &Arc<mesh::Workload>,
    policies: &InboundPolicies,
    request: &InboundRequest<'_>,
) -> Result<Authenticated, LocalReply> {
    let key_sets = &mesh.key_sets;
    for _ in 0..=WAITS_MAX {
        match jwt::decide(policies, request, now(), &key_sets.cache)? {
            TokenDecision::Admitted(authenticated) => {
                for remote in &authenticated.stale {
                    // The task of the fetch goes on.
                    drop(key_sets.start(mesh, workload, remote));
                }
                return Ok(authenticated);
            }
            TokenDecision::Fetch(remotes) => {
                let fetches = remotes.iter().map(|remote| {
                    let fetch = key_sets.start(mesh, workload, remote);
                    timeout(remote.timeout + GRACE, fetch)
                });
                join_all(fetches).await;
            }
        }
    }
    Err(jwt::keys_not_fetched(&request.head))
}

fn now() -> TokenTime {
    TokenTime {
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
        monotonic: Instant::now(),
    }
}

impl KeySets {
    /// Begins to fetch a set, or joins the fetch that is running. It continues if nobody
    /// waits for it.
    fn start(
        &self,
        mesh: &Arc<Mesh>,
        workload: &Arc<mesh::Workload>,
        remote: &Arc<RemoteKeySet>,
    ) -> Shared<BoxFuture<'static, ()>> {
        let mut running = self.running.lock();
        if let Some(fetch) = running.get(&remote.url) {
            return fetch.clone();
        }
        let task = tokio::spawn(fetch(mesh.clone(), workload.clone(), remote.clone()));
        let fetch = task.map(|_| ()).boxed().shared();
        running.insert(remote.url.clone(), fetch.clone());
        fetch
    }
}

/// Removes a fetch from those that are running, however it ends.
struct Running {
    mesh: Arc<Mesh>,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.mesh.key_sets.running.lock().remove(&self.url);
    }
}

/// Fetches a set and stores it. The future is boxed since a call of the mesh contains it.
fn fetch(
    mesh: Arc<Mesh>,
    workload: Arc<mesh::Workload>,
    remote: Arc<RemoteKeySet>,
) -> BoxFuture<'static, ()> {
    async move {
        let _running = Running {
            mesh: mesh.clone(),
            url: remote.url.clone(),
        };
        let fetched = timeout(remote.timeout, key_set(&mesh, &workload, &remote)).await;
        let fetched = fetched.unwrap_or(Err(FetchError::Timeout(remote.timeout)));
        let keys = fetched.inspect_err(|error| {
            let cause = with_causes(error);
            tracing::warn!(
                url = remote.url,
                cause,
                "cannot fetch the keys of an issuer"
            );
        });
        mesh.metrics.key_fetches.count(keys.is_ok());
        let cache = &mesh.key_sets.cache;
        cache.store(&remote, keys.ok(), Instant::now());
    }
    .boxed()
}

async fn key_set(
    mesh: &Arc<Mesh>,
    workload: &Arc<mesh::Workload>,
    remote: &RemoteKeySet,
) -> Result<KeySet, FetchError> {
    let mut text = get(mesh, workload, &remote.url).await?;
    if remote.is_discovered {
        let configuration: serde_json::Value =
            serde_json::from_slice(&text).map_err(|_| FetchError::Discovery)?;
        let url = configuration.get("jwks_uri").and_then(|url| url.as_str());
        text = get(mesh, workload, url.ok_or(FetchError::Discovery)?).await?;
    }
    KeySet::parse(&text).map_err(FetchError::KeySet)
}

async fn get(
    mesh: &Arc<Mesh>,
    workload: &Arc<mesh::Workload>,
    url: &str,
) -> Result<Vec<u8>, FetchError> {
    let uri: Uri = url
        .parse()
        .map_err(|error: http::uri::InvalidUri| FetchError::Url(error.into()))?;
    let accept = HeaderValue::from_static("application/json");
    let request = http::Request::get(uri).header(header::ACCEPT, accept);
    let request = request.body(empty()).map_err(FetchError::Url)?;
    if !is_declared(mesh, workload, &request) {
        return Ok(mesh.key_sets.direct.get(url).await?);
    }
    let response = mesh.call(call(workload, request)).await;
    if !response.status().is_success() {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), JWKS_BYTES_MAX);
    let body = body.collect().await.map_err(|_| FetchError::Body)?;
    Ok(body.to_bytes().to_vec())
}

/// Whether a Service or a ServiceEntry declares the host for the workload.
fn is_declared(mesh: &Mesh, workload: &Arc<mesh::Workload>, request: &Request) -> bool {
    let uri = request.uri();
    let head = RequestHead {
        method: request.method(),
        scheme: uri.scheme_str().unwrap_or("https"),
        authority: uri.authority().map_or("", |authority| authority.as_str()),
        path: uri.path(),
        query: uri.query(),
        headers: request.headers(),
        source_ip: None,
    };
    let snapshot = &mesh.current.load().snapshot;
    snapshot.declares(Caller::Workload(workload), &head)
}

fn call(workload: &Arc<mesh::Workload>, mut request: Request) -> Call {
    let context = RequestContext::unrecorded(request_id());
    let id = context.request_id.clone();
    request.headers_mut().insert(REQUEST_ID, id);
    let (head, body) = request.into_parts();
    let (body, received) = Count::boxed(body, Rest::All);
    Call {
        source: Source::Workload(workload.clone(), None),
        request: http::Request::from_parts(head, body),
        received,
        refusal: None,
        context: Arc::new(context),
        timeout: None,
    }
}
