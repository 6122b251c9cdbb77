//! One try at one endpoint.

use std::sync::Arc;
use std::time::{Duration, Instant};

use galleria_mesh as mesh;
use galleria_mesh::{Cluster, LocalReply, Outcome, Picked, Target};
use http::{HeaderValue, header, request};
use tokio::time::timeout;

use super::ledger::Ledger;
use super::{ATTEMPT_COUNT, Passage, UPSTREAM_TIME};
use crate::context::RequestContext;
use crate::guest::Failure;
use crate::remote::{RemoteError, Way};
use crate::telemetry::access_log::millis;
use crate::workload::InFlight;
use crate::{Body, Request, Response};

pub(super) struct Attempt<'a, 'b> {
    pub(super) passage: &'a Passage<'b>,
    pub(super) cluster: &'a Cluster,
    /// How long this try may take.
    pub(super) per_try_timeout: Option<Duration>,
    /// 1 for the first.
    pub(super) number: u32,
}

/// How a try ended.
pub(super) enum Answered {
    Response(Response, Option<InFlight>),
    /// No response; the reply is the mesh's for this failure.
    Failed(mesh::Failure, LocalReply),
}

impl Attempt<'_, '_> {
    pub(super) async fn run(
        &self,
        picked: &Picked,
        mut parts: request::Parts,
        body: Body,
        ledger: &mut Ledger,
    ) -> Answered {
        let context = self.context();
        context.trace.inject(&mut parts.headers);
        parts
            .headers
            .insert(ATTEMPT_COUNT, HeaderValue::from(self.number));
        let request = Request::from_parts(parts, body);
        let started = Instant::now();
        let per_try = self.per_try_timeout;
        let sent = self.send(picked, request, context);
        let mut answered = match per_try {
            None => sent.await,
            Some(limit) => timeout(limit, sent).await.unwrap_or_else(|_| {
                Answered::Failed(
                    mesh::Failure::Timeout,
                    LocalReply::upstream_per_try_timeout(),
                )
            }),
        };
        if let Answered::Response(response, _) = &mut answered {
            let took = started.elapsed();
            ledger.upstream_time = Some(took);
            response
                .headers_mut()
                .insert(UPSTREAM_TIME, HeaderValue::from(millis(took)));
        }
        answered
    }

    /// What the endpoint is told of the request: a span of its own, one hop further.
    fn context(&self) -> Arc<RequestContext> {
        let context = self.passage.context;
        Arc::new(RequestContext {
            trace: context.trace.child(),
            request_id: context.request_id.clone(),
            hops: context.hops + 1,
        })
    }

    async fn send(
        &self,
        picked: &Picked,
        request: Request,
        context: Arc<RequestContext>,
    ) -> Answered {
        match &picked.endpoint.target {
            Target::Pod { target, .. } => match self.passage.live.pod(*target) {
                Some(pod) => {
                    let in_flight = pod.enter();
                    match pod.serve(addressed(request), context).await {
                        Ok(response) => Answered::Response(response, Some(in_flight)),
                        Err(failure) => failed(&failure),
                    }
                }
                None => Answered::Failed(
                    mesh::Failure::ConnectFailure,
                    LocalReply::connection_failure(),
                ),
            },
            Target::Peer { host, port } => {
                let request = context.handed_over(request);
                let way = Way::Peer { host, port: *port };
                self.send_remote(way, request).await
            }
            Target::Remote { host, port } => {
                let way = Way::Outside { host, port: *port };
                self.send_remote(way, request).await
            }
            Target::Requested => {
                let host = request.uri().host().unwrap_or_default().to_owned();
                let port = request.uri().port_u16().unwrap_or(self.cluster.port);
                let way = Way::Outside { host: &host, port };
                self.send_remote(way, request).await
            }
        }
    }

    async fn send_remote(&self, way: Way<'_>, request: Request) -> Answered {
        let remote = &self.passage.mesh.remote;
        match remote.send(self.cluster, way, request).await {
            Ok(response) => Answered::Response(response, None),
            Err(error) => {
                let cluster = &self.cluster.name;
                match &error {
                    RemoteError::Tls(cause) => tracing::warn!(cluster, %cause, "{error}"),
                    RemoteError::Connect(cause)
                    | RemoteError::Refused(cause)
                    | RemoteError::Request(cause) => {
                        tracing::debug!(cluster, %way, cause, "{error}");
                    }
                }
                match error {
                    RemoteError::Connect(_) | RemoteError::Tls(_) => Answered::Failed(
                        mesh::Failure::ConnectFailure,
                        LocalReply::connection_failure(),
                    ),
                    RemoteError::Refused(_) => {
                        Answered::Failed(mesh::Failure::Refused, LocalReply::connection_failure())
                    }
                    RemoteError::Request(_) => Answered::Failed(
                        mesh::Failure::Termination,
                        LocalReply::connection_termination(),
                    ),
                }
            }
        }
    }
}

impl Answered {
    /// Makes this the call's answer; the endpoint stays in use until the body ends.
    pub(super) fn finish(self, ledger: &mut Ledger) -> Result<Response, LocalReply> {
        match self {
            Self::Response(response, in_flight) => {
                ledger.in_flight = in_flight;
                Ok(response)
            }
            Self::Failed(_, reply) => Err(reply),
        }
    }
}

/// As retries and outlier detection want to know it.
pub(super) fn outcome(answered: &Answered) -> Outcome {
    match answered {
        Answered::Failed(failure, _) => Outcome::failure(*failure),
        Answered::Response(response, _) => {
            let headers = response.headers();
            let grpc_status = headers
                .get("grpc-status")
                .and_then(|status| status.to_str().ok()?.parse().ok());
            Outcome {
                grpc_status,
                rate_limited: headers.contains_key("x-envoy-ratelimited"),
                ..Outcome::response(response.status())
            }
        }
    }
}

fn failed(failure: &Failure) -> Answered {
    match failure {
        Failure::Overflow => Answered::Failed(mesh::Failure::Overflow, LocalReply::overflow()),
        Failure::Start(_) => {
            Answered::Failed(mesh::Failure::Refused, LocalReply::connection_failure())
        }
        Failure::Deadline => {
            Answered::Failed(mesh::Failure::Timeout, LocalReply::upstream_timeout())
        }
        Failure::Trap(_)
        | Failure::OutOfMemory(_)
        | Failure::Evicted(_)
        | Failure::NoResponse(_)
        | Failure::Killed => Answered::Failed(
            mesh::Failure::Termination,
            LocalReply::connection_termination(),
        ),
    }
}

/// A guest sees the host that was asked for in `host`, and a path.
fn addressed(mut request: Request) -> Request {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    request
}
