//! The report over a Unix socket in the data folder: the file system says who
//! may ask, so it needs no port and no token, and no web page can reach it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::routing::get;
use axum::{Json, Router};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::report::{Health, Report, report};
use crate::call::Mesh;
use crate::store::Store;

const FILE: &str = "host.sock";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("no host is running with the data folder `{}`; start one with `galleria run`, or name its folder with --data", folder.display())]
    NotRunning { folder: PathBuf },
    #[error("a host is already running with the data folder `{}`; stop it, or choose another folder with --data", folder.display())]
    AlreadyRunning { folder: PathBuf },
    #[error("cannot make the socket `{}`: {source}; choose another data folder with --data", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("the host with the data folder `{}` gives no status", folder.display())]
    Answer {
        folder: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Takes the data folder's socket, and with it the folder, for this host.
///
/// # Errors
/// Another host has it, or the folder cannot be written.
pub(crate) async fn bind(folder: &Path) -> Result<UnixListener, SocketError> {
    let path = folder.join(FILE);
    if UnixStream::connect(&path).await.is_ok() {
        return Err(SocketError::AlreadyRunning {
            folder: folder.into(),
        });
    }
    // Left behind by a host that was killed.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(SocketError::Bind {
                path,
                source: error,
            });
        }
        _ => {}
    }
    let socket = UnixListener::bind(&path).map_err(|source| SocketError::Bind {
        path: path.clone(),
        source,
    })?;
    restrict(&path).map_err(|source| SocketError::Bind { path, source })?;
    Ok(socket)
}

/// Only the owner may ask.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// Serves until `stop`.
pub(crate) async fn serve(
    socket: UnixListener,
    health: Arc<Health>,
    mesh: Arc<Mesh>,
    store: Arc<Store>,
    stop: CancellationToken,
) {
    let router = Router::new().route(
        "/status",
        get(move || {
            let report = report(&health, &mesh, &store);
            async move { Json(report) }
        }),
    );
    let served = axum::serve(socket, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the status socket failed");
    }
}

/// Asks the host that runs with the data folder `folder`.
///
/// # Errors
/// None runs, or it does not answer as expected.
pub(crate) async fn fetch(folder: &Path) -> Result<Report, SocketError> {
    let stream =
        UnixStream::connect(folder.join(FILE))
            .await
            .map_err(|_| SocketError::NotRunning {
                folder: folder.into(),
            })?;
    ask(stream).await.map_err(|source| SocketError::Answer {
        folder: folder.into(),
        source,
    })
}

async fn ask(stream: UnixStream) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = http::Request::get("/status")
        .header(http::header::HOST, "galleria")
        .body(Empty::<bytes::Bytes>::new())?;
    let answer = sender
        .send_request(request)
        .await?
        .into_body()
        .collect()
        .await?;
    Ok(serde_json::from_slice(&answer.to_bytes())?)
}
