//! Spans on their way out: gathered, sorted by service, sent by OTLP.
//!
//! What the standard `OTEL_*` variables say of the exporter (endpoint, headers,
//! protocol, timeout, resource attributes) is read by the libraries themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use prometheus::{IntCounter, IntCounterVec};
use rustls::crypto::ring;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::{EndedSpan, Service, Tracer};
use crate::settings::telemetry::{TraceProtocol, TraceSettings};

/// Spans that may wait, OpenTelemetry's default: what comes on top is dropped.
const WAITING_MAX: usize = 2_048;

/// Spans that are sent together, OpenTelemetry's default.
const BATCH_MAX: usize = 512;

/// How long one batch may take; then it is lost.
const SEND_TIME: Duration = Duration::from_secs(10);

/// How long the last spans may take when the host ends.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
#[error("cannot create the trace exporter from the OTEL_EXPORTER_OTLP_* variables")]
pub(crate) struct TraceExportError(#[from] ExporterBuildError);

/// The task that sends.
pub(crate) struct TraceExport {
    task: JoinHandle<()>,
    /// Closed when the host ends.
    open: Arc<Semaphore>,
}

impl TraceExport {
    /// Starts sending to the collector that the `OTEL_*` variables name. Counts
    /// spans by result: exported, failed, dropped.
    ///
    /// # Errors
    /// The variables make no sense.
    pub(crate) fn start(
        traces: &TraceSettings,
        results: &IntCounterVec,
    ) -> Result<(Tracer, Self), TraceExportError> {
        // For the HTTP client that the exporter makes; another one may be there already.
        let _ = ring::default_provider().install_default();
        let exporter = match traces.export {
            TraceProtocol::Http => SpanExporter::builder().with_http().build()?,
            _ => SpanExporter::builder().with_tonic().build()?,
        };
        let (sender, spans) = mpsc::channel(WAITING_MAX);
        let dropped = results.with_label_values(&["dropped"]);
        let open = Arc::new(Semaphore::new(0));
        let sending = Sending {
            exporter,
            exported: results.with_label_values(&["exported"]),
            failed: results.with_label_values(&["failed"]),
            resources: HashMap::new(),
            is_failing: false,
            batch_delay: traces.batch_delay,
        };
        let task = tokio::spawn(sending.run(spans, open.clone()));
        Ok((
            Tracer::new(traces.ratio, dropped, sender),
            Self { task, open },
        ))
    }

    /// Sends what is there and ends; what takes too long is lost.
    pub(crate) async fn close(self) {
        self.open.close();
        // Whatever became of it: the host ends.
        let _ = timeout(CLOSE_TIME, self.task).await;
    }
}

struct Sending {
    exporter: SpanExporter,
    exported: IntCounter,
    failed: IntCounter,
    /// By namespace and name of the workload; the gateway's by nothing.
    resources: HashMap<(String, String), Resource>,
    is_failing: bool,
    /// How long is waited for a batch to fill.
    batch_delay: Duration,
}

impl Sending {
    async fn run(mut self, mut spans: mpsc::Receiver<EndedSpan>, open: Arc<Semaphore>) {
        loop {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            let is_last = tokio::select! {
                received = spans.recv_many(&mut batch, BATCH_MAX) => received == 0,
                _ = open.acquire() => true,
            };
            let until = Instant::now() + self.batch_delay;
            while !is_last && batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                tokio::select! {
                    received = timeout_at(until, spans.recv_many(&mut batch, room)) => {
                        if !matches!(received, Ok(1..)) {
                            break;
                        }
                    }
                    _ = open.acquire() => break,
                }
            }
            if is_last {
                spans.close();
                while let Some(span) = spans.recv().await {
                    batch.push(span);
                }
            }
            self.send(batch).await;
            if is_last {
                return;
            }
        }
    }

    async fn send(&mut self, batch: Vec<EndedSpan>) {
        let mut by_service = HashMap::<(String, String), Vec<SpanData>>::new();
        for EndedSpan { service, span } in batch {
            by_service.entry(service.key()).or_default().push(span);
        }
        for (key, spans) in by_service {
            let count = spans.len() as u64;
            let resource = self.resources.entry(key).or_insert_with_key(resource);
            self.exporter.set_resource(resource);
            let failure = match timeout(SEND_TIME, self.exporter.export(spans)).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {SEND_TIME:?}")),
            };
            match &failure {
                None => self.exported.inc_by(count),
                Some(_) => self.failed.inc_by(count),
            }
            self.note(failure);
        }
    }

    /// Logs when sending begins to fail, and when it is well again.
    fn note(&mut self, failure: Option<String>) {
        match (failure, self.is_failing) {
            (Some(error), false) => {
                tracing::warn!(
                    error,
                    "the collector does not accept spans; dropping them until it does"
                );
                self.is_failing = true;
            }
            (None, true) => {
                tracing::info!("the collector accepts spans again");
                self.is_failing = false;
            }
            _ => {}
        }
    }
}

impl Service {
    fn key(&self) -> (String, String) {
        match self {
            Self::Gateway => Default::default(),
            Self::Workload(workload) => (workload.namespace.clone(), workload.name.clone()),
        }
    }
}

fn resource((namespace, name): &(String, String)) -> Resource {
    if name.is_empty() {
        // `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` speak of the host itself.
        let named = std::iter::once(KeyValue::new("service.name", "galleria"));
        let host = Resource::builder_empty().with_attributes(named).build();
        return merged(&host, &Resource::builder().build());
    }
    Resource::builder()
        .with_attributes([
            KeyValue::new("service.name", name.clone()),
            KeyValue::new("service.namespace", namespace.clone()),
            KeyValue::new("k8s.namespace.name", namespace.clone()),
        ])
        .build()
}

/// `above`, and of `below` what that does not say: an unknown service is no name.
fn merged(below: &Resource, above: &Resource) -> Resource {
    let to_pair = |(key, value): (&opentelemetry::Key, &opentelemetry::Value)| {
        KeyValue::new(key.clone(), value.clone())
    };
    let is_name = |pair: &KeyValue| !pair.value.as_str().starts_with("unknown_service");
    let all = below
        .iter()
        .chain(above.iter())
        .map(to_pair)
        .filter(is_name);
    Resource::builder_empty().with_attributes(all).build()
}
