//! Startup, liveness and readiness: requests into the guest itself, past
//! routing, policies, queue and request metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use galleria_manifest::model::{HttpGet, Probe, ProbeHandler};
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use tokio::time::{sleep, timeout};

use super::pod::Pod;
use crate::context::{RequestContext, TraceContext};
use crate::telemetry::metrics::Metrics;

/// What a probe reads of an answer; the rest does not matter.
const ANSWER_MAX: usize = 64 << 10;

/// The probes of one pod.
pub(super) struct Probes<'a> {
    pod: &'a Pod,
    metrics: &'a Metrics,
}

impl<'a> Probes<'a> {
    pub(super) fn new(pod: &'a Pod, metrics: &'a Metrics) -> Self {
        Self { pod, metrics }
    }

    /// Waits for the startup probe's first success.
    ///
    /// # Errors
    /// It failed `failureThreshold` times in a row.
    pub(super) async fn until_started(&self, probe: &Probe) -> Result<(), String> {
        let mut count = Count::new(probe);
        sleep(probe.initial_delay).await;
        loop {
            match count.add(self.run("startup", probe).await) {
                Verdict::Good => return Ok(()),
                Verdict::Bad(message) => {
                    return Err(format!("the startup probe failed: {message}"));
                }
                Verdict::Open => sleep(probe.period).await,
            }
        }
    }

    /// Keeps the pod's readiness as the probe finds it; without a probe it is ready.
    pub(super) async fn keep_ready(&self, probe: Option<&Probe>) -> Infallible {
        let Some(probe) = probe else {
            self.pod.set_ready(true);
            return std::future::pending().await;
        };
        let mut count = Count::new(probe);
        sleep(probe.initial_delay).await;
        loop {
            match count.add(self.run("readiness", probe).await) {
                Verdict::Good => self.pod.set_ready(true),
                Verdict::Bad(message) => {
                    if self.pod.is_ready() {
                        tracing::warn!(pod = self.pod.name, message, "not ready any more");
                    }
                    self.pod.set_ready(false);
                }
                Verdict::Open => {}
            }
            sleep(probe.period).await;
        }
    }

    /// Waits until the liveness probe has failed often enough; says why.
    pub(super) async fn until_dead(&self, probe: Option<&Probe>) -> String {
        let Some(probe) = probe else {
            return std::future::pending().await;
        };
        let mut count = Count::new(probe);
        sleep(probe.initial_delay).await;
        loop {
            if let Verdict::Bad(message) = count.add(self.run("liveness", probe).await) {
                return format!("the liveness probe failed: {message}");
            }
            sleep(probe.period).await;
        }
    }

    async fn run(&self, kind: &str, probe: &Probe) -> Result<(), String> {
        let result = match &probe.handler {
            ProbeHandler::HttpGet(get) => self.http_get(get, probe.timeout).await,
            // The guest answers requests, so its ports are open.
            ProbeHandler::TcpSocket { .. } => Ok(()),
            ProbeHandler::Grpc { .. } => Err("gRPC probes are not served; use httpGet".into()),
        };
        let identity = &self.pod.plan.identity;
        let outcome = if result.is_ok() { "success" } else { "failure" };
        let labels = &[
            identity.namespace.as_str(),
            &identity.name,
            &self.pod.name,
            kind,
            outcome,
        ];
        self.metrics.probes.with_label_values(labels).inc();
        result
    }

    async fn http_get(&self, get: &HttpGet, limit: Duration) -> Result<(), String> {
        http_get(self.pod, get, limit).await
    }
}

/// Asks the guest itself. Good is 200 to 399, within `limit`.
///
/// # Errors
/// What came instead.
pub(super) async fn http_get(pod: &Pod, get: &HttpGet, limit: Duration) -> Result<(), String> {
    let request = request(get, &pod.address)?;
    let context = Arc::new(RequestContext {
        trace: TraceContext {
            flags: 0,
            ..TraceContext::begin()
        },
        request_id: HeaderValue::from_static("probe"),
        hops: 0,
    });
    let answered = async {
        let response = pod
            .serve_probe(request, context)
            .await
            .map_err(|failure| failure.to_string())?;
        let status = response.status();
        // Read to the end: an instance whose answer is dropped is lost.
        let _ = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        Ok::<_, String>(status)
    };
    let status: StatusCode = match timeout(limit, answered).await {
        Ok(status) => status?,
        Err(_) => return Err(format!("no answer from {} within {limit:?}", get.path)),
    };
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("{} answered {status}", get.path))
    }
}

fn request(get: &HttpGet, address: &str) -> Result<crate::Request, String> {
    let path = if get.path.starts_with('/') {
        get.path.clone()
    } else {
        format!("/{}", get.path)
    };
    let mut request = http::Request::get(path)
        .header(header::HOST, address)
        .header(header::USER_AGENT, "kube-probe/1.0")
        .body(
            Empty::new()
                .map_err(|never: Infallible| match never {})
                .boxed_unsync(),
        )
        .map_err(|error| format!("the probe's request cannot be made: {error}"))?;
    for (name, value) in &get.headers {
        let name = http::HeaderName::try_from(name).map_err(|error| error.to_string())?;
        let value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

/// Counts successes and failures in a row.
struct Count {
    success_threshold: u32,
    failure_threshold: u32,
    successes: u32,
    failures: u32,
}

/// What the results so far amount to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad(String),
    /// Neither threshold is reached.
    Open,
}

impl Count {
    fn new(probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            successes: 0,
            failures: 0,
        }
    }

    fn add(&mut self, result: Result<(), String>) -> Verdict {
        match result {
            Ok(()) => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                if self.successes >= self.success_threshold {
                    Verdict::Good
                } else {
                    Verdict::Open
                }
            }
            Err(message) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                if self.failures >= self.failure_threshold {
                    Verdict::Bad(message)
                } else {
                    Verdict::Open
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_count_results_in_a_row() {
        let mut count = Count {
            success_threshold: 2,
            failure_threshold: 2,
            successes: 0,
            failures: 0,
        };
        let bad = || Err("503".to_owned());
        assert_eq!(count.add(Ok(())), Verdict::Open);
        assert_eq!(count.add(bad()), Verdict::Open);
        assert_eq!(count.add(Ok(())), Verdict::Open);
        assert_eq!(count.add(Ok(())), Verdict::Good);
        assert_eq!(count.add(bad()), Verdict::Open);
        assert_eq!(count.add(bad()), Verdict::Bad("503".into()));
    }
}
