//! The status port: health and metrics, safe to expose; no admin action.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::report::Health;
use crate::call::Mesh;
use crate::telemetry::metrics::raise;

#[derive(Clone)]
struct Context {
    health: Arc<Health>,
    mesh: Arc<Mesh>,
}

/// Serves until `stop`.
pub(crate) async fn serve(
    socket: TcpListener,
    health: Arc<Health>,
    mesh: Arc<Mesh>,
    stop: CancellationToken,
) {
    let address = socket
        .local_addr()
        .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
    let router = Router::new()
        .route("/healthz/live", get(|| async { "ok\n" }))
        .route("/healthz/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/stats/prometheus", get(metrics))
        .with_state(Context { health, mesh });
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

/// Gauges and sums are read when they are asked for; counters count as it happens.
async fn metrics(State(context): State<Context>) -> impl IntoResponse {
    let metrics = &context.mesh.metrics;
    for pod in context.health.pods().iter() {
        let identity = &pod.plan.identity;
        let labels = &[
            identity.namespace.as_str(),
            identity.name.as_str(),
            pod.name.as_str(),
        ];
        let status = pod.status();
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let [namespace, workload, name] = *labels;
        let instances = |state| {
            metrics
                .instances
                .with_label_values(&[namespace, workload, name, state])
        };
        instances("idle").set(gauge(status.pool.idle));
        instances("busy").set(gauge(status.pool.busy));
        metrics
            .instances_started
            .with_label_values(labels)
            .set(bytes(status.pool.started));
        metrics
            .instances_retired
            .with_label_values(labels)
            .set(bytes(status.pool.retired));
        metrics
            .queue_depth
            .with_label_values(labels)
            .set(gauge(status.pool.queued));
        metrics
            .memory
            .with_label_values(labels)
            .set(bytes(status.memory_bytes));
        metrics
            .memory_limit
            .with_label_values(labels)
            .set(bytes(status.memory_limit_bytes));
        let throttling = pod.throttling();
        for (sums, sum) in [
            (&metrics.cpu_seconds, pod.cpu_time().as_secs_f64()),
            (&metrics.cpu_throttled_periods, throttling.periods as f64),
            (
                &metrics.cpu_throttled_seconds,
                throttling.time.as_secs_f64(),
            ),
        ] {
            raise(&sums.with_label_values(labels), sum);
        }
        metrics
            .pod_ready
            .with_label_values(labels)
            .set(i64::from(status.ready));
        metrics
            .pod_restarts
            .with_label_values(labels)
            .set(i64::from(status.restarts));
    }
    let age = context.mesh.current.load().since.elapsed().as_secs();
    metrics
        .snapshot_age
        .set(i64::try_from(age).unwrap_or(i64::MAX));
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        metrics.render(),
    )
}
