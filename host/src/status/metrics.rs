//! The response to a scraper: metrics that are counted as events occur, and metrics that
//! are read at scrape time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use galleria_mesh as mesh;
use galleria_mesh::ClientReport;

use super::report::HostStatus;
use crate::call::Mesh;
use crate::guest::Databases;
use crate::telemetry::metrics::{Format, Samples};
use crate::telemetry::names;
use crate::tls::Expiries;
use crate::workload::Pod;

/// The data that the status port presents.
#[derive(Clone)]
pub(crate) struct Context {
    pub health: Arc<HostStatus>,
    pub mesh: Arc<Mesh>,
    pub state: Arc<mesh::State>,
    pub sql: Arc<Databases>,
    pub certificates: Arc<Expiries>,
}

/// In the format that the request asks for.
pub(super) async fn answer(
    State(context): State<Context>,
    headers: HeaderMap,
) -> impl IntoResponse + use<> {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|it| it.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let samples = sample(&context).await;
    let text = context.mesh.metrics.render(samples, format);
    ([(header::CONTENT_TYPE, format.content_type())], text)
}

async fn sample(context: &Context) -> Samples {
    let mut samples = Samples::new();
    samples.set(&names::BUILD, &["proxy", env!("CARGO_PKG_VERSION")], 1.0);
    for pod in context.health.pods.all().iter() {
        sample_pod(pod, &mut samples);
    }
    for client in context.state.report(Instant::now()) {
        sample_client(&client, &mut samples);
    }
    context.mesh.metrics.ports.sample(&mut samples);
    context.sql.sample(&mut samples);
    let live = context.mesh.current.load();
    let age = live.since.elapsed().as_secs_f64();
    samples.set(&names::SNAPSHOT_AGE, &[], age);
    let issued = context.mesh.identities.issued();
    samples.count(&names::CERTIFICATES_ISSUED, &[], issued);
    let roots = context.mesh.identities.roots().len();
    samples.count(&names::TRUSTED_ROOTS, &[], roots as u64);
    for (certificate, expiry) in expiries(context, &live.snapshot).await {
        let labels = [certificate.as_str()];
        samples.set(&names::CERTIFICATE_EXPIRY, &labels, expiry as f64);
    }
    samples
}

/// When each certificate expires; of several with the same name, the first one.
async fn expiries(context: &Context, snapshot: &mesh::Snapshot) -> BTreeMap<String, i64> {
    let files = context.certificates.all(snapshot).await;
    let gateways = context.health.certificates();
    let gateways = gateways.iter();
    let gateways = gateways.map(|it| (it.certificate.clone(), it.not_after));
    let authority = context.mesh.identities.expiries();
    let mut expiries = BTreeMap::new();
    for (certificate, expiry) in files.into_iter().chain(gateways).chain(authority) {
        let first = expiries.entry(certificate).or_insert(expiry);
        *first = expiry.min(*first);
    }
    expiries
}

fn sample_pod(pod: &Pod, samples: &mut Samples) {
    let identity = &pod.plan.identity;
    let labels: [&str; 3] = [&identity.namespace, &identity.name, &pod.name];
    let [namespace, workload, name] = labels;
    let status = pod.status();
    for (state, instances) in [("idle", status.pool.idle), ("busy", status.pool.busy)] {
        let labels = [namespace, workload, name, state];
        samples.count(&names::INSTANCES, &labels, instances as u64);
    }
    pod.meters().sample(labels, samples);
    let throttling = pod.throttling();
    for (metric, value) in [
        (&names::QUEUE_DEPTH, status.pool.queued as f64),
        (&names::MEMORY_BYTES, status.memory_bytes as f64),
        (&names::MEMORY_LIMIT_BYTES, status.memory_limit_bytes as f64),
        (&names::CPU_SECONDS, pod.cpu_time().as_secs_f64()),
        (&names::CPU_THROTTLED_PERIODS, throttling.periods as f64),
        (&names::CPU_THROTTLED_SECONDS, throttling.time.as_secs_f64()),
        (&names::POD_READY, f64::from(u8::from(status.ready))),
        (&names::POD_RESTARTS, f64::from(status.restarts)),
    ] {
        samples.set(metric, &labels, value);
    }
}

/// The metrics of a policy are reported from the first call on, the others after their
/// first event.
fn sample_client(client: &ClientReport, samples: &mut Samples) {
    let (namespace, workload) = match &client.caller {
        Some((namespace, workload)) => (namespace.as_str(), workload.as_str()),
        None => ("unknown", "unknown"),
    };
    let cluster = client.cluster.as_str();
    let labels = [workload, namespace, cluster];
    samples.count(&names::RETRIES, &labels, client.retries);
    if let Some(breaker) = client.breaker {
        let pending = breaker.pending as u64;
        samples.count(&names::BREAKER_ACTIVE, &labels, breaker.active.into());
        samples.count(&names::BREAKER_PENDING, &labels, pending);
        samples.count(&names::BREAKER_OPEN, &labels, breaker.is_open.into());
    }
    if client.breaker.is_some() || client.overflows > 0 {
        samples.count(&names::BREAKER_OVERFLOWS, &labels, client.overflows);
    }
    if let Some(ejected) = client.ejected {
        samples.count(&names::EJECTED_ENDPOINTS, &labels, ejected as u64);
    }
    for (reason, count) in client.ejections {
        if client.ejected.is_some() || count > 0 {
            let labels = [workload, namespace, cluster, reason];
            samples.count(&names::EJECTIONS, &labels, count);
        }
    }
    let rare = [
        (&names::FAULTS, "delay", client.delays),
        (&names::FAULTS, "abort", client.aborts),
        (&names::MIRRORED, "sent", client.mirrors_sent),
        (&names::MIRRORED, "dropped", client.mirrors_dropped),
    ];
    for (metric, kind, count) in rare {
        if count > 0 {
            samples.count(metric, &[workload, namespace, cluster, kind], count);
        }
    }
}
