//! Serves the report, explanations and canaries over a Unix socket in the data folder.
//! File permissions control the access, so it needs no port and no token, and web pages
//! cannot reach it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::backup::{self, BackupReport};
use super::exchange::{Request, exchange};
use super::report::{HostStatus, Report, report};
use super::routed::RouterHandler;
use crate::call::Mesh;
use crate::canary::{self, CanaryReport, Order, Route};
use crate::explain::{self, Answer, Question, Subject, WrongUsage};
use crate::listen::{Room, Server};
use crate::settings::listen::ClientTimeouts;
use crate::store::Store;
use crate::writes::{Command, STOPPING, WriteError, Writer};

const FILE: &str = "host.sock";

#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("no host is running with the data folder `{}`; start one with `galleria run`, or name its folder with --data", folder.display())]
    NotRunning { folder: PathBuf },
    #[error("a host is already running with the data folder `{}`; stop it, or choose another folder with --data", folder.display())]
    AlreadyRunning { folder: PathBuf },
    #[error("cannot make the socket `{}`: {source}; choose another data folder with --data", path.display())]
    Bind { path: PathBuf, source: io::Error },
    #[error("the host with the data folder `{}` does not report its status", folder.display())]
    Answer {
        folder: PathBuf,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Binds the socket of the data folder, which also locks the folder for this host.
///
/// # Errors
/// Another host uses the folder, or it cannot be written.
pub(crate) async fn bind(folder: &Path) -> Result<UnixListener, SocketError> {
    let path = folder.join(FILE);
    if UnixStream::connect(&path).await.is_ok() {
        return Err(SocketError::AlreadyRunning {
            folder: folder.into(),
        });
    }
    // Left by a host that was killed.
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

/// Allows only the owner to connect.
fn restrict(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
}

/// Serves the data of `context` until `stop`.
pub(crate) fn serve(
    socket: UnixListener,
    context: SocketContext,
    room: &Arc<Room>,
    timeouts: ClientTimeouts,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<> {
    let context = Arc::new(context);
    let router = Router::new()
        .route("/status", get(status))
        .route("/explain", post(explain))
        .route("/backup", post(back_up))
        .route("/canary", post(execute_canary_order))
        .route("/canary/status", post(canary_status))
        .with_state(context);
    let handler = RouterHandler::<()>::new(router);
    Server::new("the status socket".into(), room, handler, timeouts, stop).accept(socket)
}

/// The data that responses are made of.
pub(crate) struct SocketContext {
    pub data: PathBuf,
    pub health: Arc<HostStatus>,
    pub mesh: Arc<Mesh>,
    pub store: Arc<Store>,
    pub writer: Writer,
}

async fn status(State(context): State<Arc<SocketContext>>) -> Json<Report> {
    Json(report(&context.health, &context.mesh, &context.store))
}

async fn explain(
    State(context): State<Arc<SocketContext>>,
    Json(question): Json<Question>,
) -> Result<Json<Answer>, (StatusCode, String)> {
    let live = context.mesh.current.load();
    let (stored, _) = context.store.list();
    let objects: Vec<_> = stored.iter().map(|stored| stored.object.clone()).collect();
    let pods = context.health.pods.all();
    let pods: Vec<_> = pods.iter().map(|pod| pod.endpoint()).collect();
    let listeners = context.health.listeners();
    let bound = listeners.iter().map(|it| (it.port, it.address.port()));
    let subject = Subject {
        objects: &objects,
        pods: &pods,
        snapshot: &live.snapshot,
        bound: &bound.collect::<Vec<_>>(),
    };
    explain::explain(&question, &subject)
        .map(Json)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

/// Copies the databases.
async fn back_up(
    State(context): State<Arc<SocketContext>>,
    Json(order): Json<backup::Order>,
) -> Result<Json<BackupReport>, (StatusCode, String)> {
    let copying = tokio::task::spawn_blocking(move || backup::copy(&context.data, &order));
    let copied = copying.await.unwrap_or_else(|error| Err(error.to_string()));
    copied
        .map(Json)
        .map_err(|error| (StatusCode::BAD_REQUEST, error))
}

/// Executes an order, and returns the resulting state.
async fn execute_canary_order(
    State(context): State<Arc<SocketContext>>,
    Json(order): Json<Order>,
) -> Result<Json<CanaryReport>, (StatusCode, String)> {
    let route = order.route.clone();
    match context.writer.send(Command::Canary(order)).await {
        Ok(()) => canary_status(State(context), Json(route)).await,
        Err(error) => Err((StatusCode::BAD_REQUEST, unwritten(error))),
    }
}

async fn canary_status(
    State(context): State<Arc<SocketContext>>,
    Json(route): Json<Route>,
) -> Result<Json<CanaryReport>, (StatusCode, String)> {
    let file_of = |key: &_| context.health.file_of_drifted(key);
    canary::report(&route, &context.store.list().0, file_of)
        .map(Json)
        .map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
}

fn unwritten(error: WriteError) -> String {
    match error {
        WriteError::Changed => "the VirtualService was changed concurrently; try again".into(),
        WriteError::Invalid(problems) => {
            let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
            problems.join("\n")
        }
        error @ WriteError::Disruption { .. } => error.to_string(),
        WriteError::Impossible(text) | WriteError::NotPersisted(text) => text,
        WriteError::Stopping => STOPPING.to_owned(),
    }
}

/// Requests the report from the host that runs with the data folder `folder`.
///
/// # Errors
/// No host runs, or its response is unexpected.
pub(crate) async fn fetch(folder: &Path) -> Result<Report, SocketError> {
    let request = http::Request::get("/status").body(Full::default());
    let (_, answer) = ask(folder, request).await?;
    read(folder, &answer)
}

/// Asks the host that runs with the data folder `folder` to explain a request. The inner
/// error is the host's message about the question.
///
/// # Errors
/// No host runs, or its response is unexpected.
pub(crate) async fn ask_to_explain(
    folder: &Path,
    question: &Question,
) -> Result<Result<Answer, WrongUsage>, SocketError> {
    let answer = post_json(folder, "/explain", question).await?;
    Ok(answer.map_err(WrongUsage::Host))
}

/// Sends a canary order to the host that runs with the data folder `folder`. The inner
/// error is the host's.
///
/// # Errors
/// No host runs, or its response is unexpected.
pub(crate) async fn order_canary(
    folder: &Path,
    order: &Order,
) -> Result<Result<CanaryReport, String>, SocketError> {
    post_json(folder, "/canary", order).await
}

/// Asks the host that runs with the data folder `folder` to copy its databases. The inner
/// error is the host's.
///
/// # Errors
/// No host runs, or its response is unexpected.
pub(crate) async fn ask_for_backup(
    folder: &Path,
    order: &backup::Order,
) -> Result<Result<BackupReport, String>, SocketError> {
    post_json(folder, "/backup", order).await
}

/// Requests the status of a canary from the host that runs with the data folder `folder`.
/// The inner error is the host's.
///
/// # Errors
/// No host runs, or its response is unexpected.
pub(crate) async fn ask_for_canary(
    folder: &Path,
    route: &Route,
) -> Result<Result<CanaryReport, String>, SocketError> {
    post_json(folder, "/canary/status", route).await
}

/// The inner error is the host's message about the request.
async fn post_json<T: DeserializeOwned>(
    folder: &Path,
    path: &str,
    question: &impl Serialize,
) -> Result<Result<T, String>, SocketError> {
    let body = serde_json::to_vec(question).map_err(|error| unanswered(folder, error))?;
    let request = http::Request::post(path)
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::from(body));
    let (status, answer) = ask(folder, request).await?;
    if status == StatusCode::OK {
        return read(folder, &answer).map(Ok);
    }
    Ok(Err(String::from_utf8_lossy(&answer).into_owned()))
}

async fn ask(folder: &Path, request: Request) -> Result<(StatusCode, Bytes), SocketError> {
    let stream =
        UnixStream::connect(folder.join(FILE))
            .await
            .map_err(|_| SocketError::NotRunning {
                folder: folder.into(),
            })?;
    exchange(stream, request)
        .await
        .map_err(|error| unanswered(folder, error))
}

fn read<T: DeserializeOwned>(folder: &Path, answer: &[u8]) -> Result<T, SocketError> {
    serde_json::from_slice(answer).map_err(|error| unanswered(folder, error))
}

fn unanswered(
    folder: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> SocketError {
    SocketError::Answer {
        folder: folder.into(),
        source: source.into(),
    }
}
