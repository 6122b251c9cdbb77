//! The status port: health and metrics, safe to expose; no admin action.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::metrics::{self, Context};

/// Serves what `context` knows until `stop`.
pub(crate) async fn serve(socket: TcpListener, context: Context, stop: CancellationToken) {
    let address = socket
        .local_addr()
        .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let router = Router::new()
        .route("/healthz/live", get(|| async { "ok\n" }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics::answer))
        .route("/stats/prometheus", get(metrics::answer))
        .with_state(context);
    let served = axum::serve(socket, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%address, %error, "the status port failed");
    }
}

async fn ready(State(context): State<Context>) -> Response {
    if context.health.is_ready() {
        return "ok\n".into_response();
    }
    let waiting: Vec<String> = context
        .health
        .pods()
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
