//! The status port: health and metrics. It is read-only and safe to expose.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Context};
use super::routed::RouterHandler;
use crate::listen::{Accept, Room, Server};
use crate::settings::listen::ClientTimeouts;

/// Serves the data of `context` until `stop`.
pub(crate) fn serve<A: Accept<Client = SocketAddr> + Sync>(
    socket: A,
    context: Context,
    room: &Arc<Room>,
    timeouts: ClientTimeouts,
    stop: CancellationToken,
) -> impl Future<Output = ()> + use<A> {
    let router = Router::new()
        .route("/healthz/live", get(|| async { "ok\n" }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics::answer))
        .route("/stats/prometheus", get(metrics::answer))
        .with_state(context);
    let handler = RouterHandler::<SocketAddr>::new(router);
    Server::new("the status port".into(), room, handler, timeouts, stop).accept(socket)
}

async fn ready(State(context): State<Context>) -> Response {
    if context.health.is_ready() {
        return "ok\n".into_response();
    }
    let waiting: Vec<String> = context
        .health
        .pods
        .all()
        .iter()
        .filter(|pod| !pod.is_ready())
        .map(|pod| {
            format!(
                "waiting for pod {}/{}\n",
                pod.plan.identity.namespace, pod.name
            )
        })
        .collect();
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("not ready\n{}", waiting.concat()),
    )
        .into_response()
}
