//! Startup, liveness and readiness probes. They go directly to the guest and bypass
//! routing, policies, faults, the queue and request metrics.
//!
//! A guest has one HTTP handler and no sockets: `httpGet` and `grpc` reach the handler on
//! any port, and `tcpSocket` succeeds if the container declares the port.

mod grpc;
mod http_get;
mod schedule;

pub(super) use http_get::http_get;

use std::convert::Infallible;
use std::sync::Arc;

use galleria_manifest::model::{ContainerPort, PortReference, Probe, ProbeHandler};
use http::HeaderValue;
use tokio::time::Instant;

use super::pod::Pod;
use crate::context::RequestContext;
use crate::store::EventType;
use schedule::{Schedule, Verdict};

/// The maximum number of bytes that a probe reads of a response body.
const ANSWER_MAX: usize = 64 << 10;

/// The kubelet's: some services exempt it from their session checks.
const USER_AGENT: HeaderValue = HeaderValue::from_static("kube-probe/1.34");

/// The probes of one pod.
pub(super) struct Probes<'a> {
    pod: &'a Pod,
    /// When the container started. Initial delays count from here.
    started: Instant,
}

impl<'a> Probes<'a> {
    pub(super) fn new(pod: &'a Pod) -> Self {
        Self {
            pod,
            started: Instant::now(),
        }
    }

    /// Waits until the startup probe succeeds.
    ///
    /// # Errors
    /// It failed `failureThreshold` times in a row.
    pub(super) async fn until_started(&self, probe: &Probe) -> Result<(), String> {
        let mut schedule = Schedule::new(probe, self.started);
        loop {
            match self.next("startup", &mut schedule).await {
                Verdict::Good => return Ok(()),
                Verdict::Bad(message) => {
                    return Err(format!("the startup probe failed: {message}"));
                }
                Verdict::Open => {}
            }
        }
    }

    /// Keeps the pod's readiness up to date. Without a probe, the pod is ready.
    pub(super) async fn keep_ready(&self, probe: Option<&Probe>) -> Infallible {
        let Some(probe) = probe else {
            self.pod.set_ready(true);
            return std::future::pending().await;
        };
        let mut schedule = Schedule::new(probe, self.started);
        loop {
            match self.next("readiness", &mut schedule).await {
                Verdict::Good => self.pod.set_ready(true),
                Verdict::Bad(message) => {
                    if self.pod.is_ready() {
                        tracing::warn!(pod = self.pod.name, message, "not ready any more");
                    }
                    self.pod.set_ready(false);
                }
                Verdict::Open => {}
            }
        }
    }

    /// Waits until the liveness probe has failed `failureThreshold` times in a row; returns
    /// why.
    pub(super) async fn until_dead(&self, probe: &Probe) -> String {
        let mut schedule = Schedule::new(probe, self.started);
        loop {
            if let Verdict::Bad(message) = self.next("liveness", &mut schedule).await {
                return format!("the liveness probe failed: {message}");
            }
        }
    }

    /// Waits for the next probe, runs it, and counts and reports the result.
    async fn next(&self, kind: &'static str, schedule: &mut Schedule<'_>) -> Verdict {
        let handler = &schedule.probe.handler;
        // A request into a guest is a large future.
        let result = schedule.next(Box::pin(self.ask(kind, handler))).await;
        let outcome = if result.is_ok() { "success" } else { "failure" };
        self.pod.meters().probed(kind, outcome);
        if let Err(message) = &result {
            let message = format!("{} probe failed: {message}", capitalised(kind));
            self.pod.record(EventType::Warning, "Unhealthy", &message);
        }
        schedule.count(result)
    }

    async fn ask(&self, kind: &'static str, handler: &ProbeHandler) -> Result<(), String> {
        match handler {
            ProbeHandler::HttpGet(get) => {
                if let Some(warning) = http_get(self.pod, get).await? {
                    let message = format!("{} probe warning: {warning}", capitalised(kind));
                    self.pod
                        .record(EventType::Warning, "ProbeWarning", &message);
                }
                Ok(())
            }
            ProbeHandler::TcpSocket { port } => tcp_socket(&self.pod.plan.container.ports, port),
            ProbeHandler::Grpc { service, .. } => {
                grpc::check(self.pod, service.as_deref().unwrap_or_default()).await
            }
        }
    }
}

/// A guest has no sockets. Its ports count as open while the pod runs: those that its
/// container declares, or all ports if it declares none, since declaring ports is optional.
fn tcp_socket(ports: &[ContainerPort], port: &PortReference) -> Result<(), String> {
    let open = match port {
        PortReference::Number(number) => {
            ports.is_empty() || ports.iter().any(|port| port.container_port == *number)
        }
        PortReference::Name(name) => ports.iter().any(|port| port.name.as_ref() == Some(name)),
    };
    if open {
        return Ok(());
    }
    let shown = match port {
        PortReference::Number(number) => number.to_string(),
        PortReference::Name(name) => name.clone(),
    };
    Err(format!(
        "connection refused: the container declares no port {shown}"
    ))
}

/// With an upper-case initial, as events write it.
fn capitalised(kind: &str) -> String {
    let mut letters = kind.chars();
    let first = letters.next().map(|it| it.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn context() -> Arc<RequestContext> {
    Arc::new(RequestContext::unrecorded(HeaderValue::from_static(
        "probe",
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_open_on_the_declared_ports() {
        let declared = [ContainerPort {
            name: Some("http".into()),
            container_port: 8080,
        }];
        let number = PortReference::Number;
        assert_eq!(tcp_socket(&declared, &number(8080)), Ok(()));
        let name = PortReference::Name("http".into());
        assert_eq!(tcp_socket(&declared, &name), Ok(()));
        assert_eq!(
            tcp_socket(&[], &number(9090)),
            Ok(()),
            "no port is declared"
        );
        let refused = tcp_socket(&declared, &number(9090)).expect_err("refused");
        assert!(refused.contains("no port 9090"), "{refused}");
    }
}
