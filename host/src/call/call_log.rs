//! What is known of a call, gathered on its way and written down at its end.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use galleria_mesh as mesh;
use galleria_mesh::{
    LocalReply, Outcome, Picked, RequestPermit, ResponseFlags, RouteId, Target, Workload,
};
use http::Method;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::time::Sleep;
use wasmtime_wasi_http::Error;

use super::Mesh;
use super::attempt::Spans;
use crate::Response;
use crate::active_config::ActiveConfig;
use crate::body::{ByteCount, End, Watch, Watcher, body_length};
use crate::context::RequestContext;
use crate::guest::Production;
use crate::telemetry::access_log::{self, Line, RequestFacts};
use crate::telemetry::metrics::{CallEdge, CallRecord, MethodClass, Reporter};
use crate::telemetry::trace::{Span, attributes};
use crate::workload::InFlight;

/// One call's record. Dropping it writes it down.
pub(super) struct CallLog {
    mesh: Arc<Mesh>,
    started: Instant,
    context: Arc<RequestContext>,
    facts: Option<RequestFacts>,
    edge: CallEdge,
    cluster: Option<Arc<mesh::Cluster>>,
    route_name: String,
    /// The rule that took the call.
    route: Option<Arc<RouteId>>,
    method: MethodClass,
    code: u16,
    details: Cow<'static, str>,
    pub(super) flags: ResponseFlags,
    pub(super) attempts: u32,
    /// The last try found the pod's queue full.
    pub(super) pods_were_full: bool,
    /// Why the last try did not reach another host.
    pub(super) transport_failure: Option<String>,
    /// Until the last try's response head.
    pub(super) upstream_time: Option<Duration>,
    /// Bytes of the request's body that were read.
    pub(super) received: ByteCount,
    sent: u64,
    /// The last try's endpoint, which counts as busy until the body has ended.
    picked: Option<Arc<Picked>>,
    pub(super) in_flight: Option<InFlight>,
    /// Of the try that is the answer; told before the call's own.
    pub(super) spans: Spans,
    span: Option<Span>,
    permit: Option<RequestPermit>,
    /// When the response must be complete.
    deadline: Option<Instant>,
}

impl CallLog {
    pub(super) fn open(
        mesh: Arc<Mesh>,
        method: &Method,
        source: Option<Arc<Workload>>,
        context: &Arc<RequestContext>,
        facts: Option<RequestFacts>,
        span: Option<Span>,
    ) -> Self {
        Self {
            mesh,
            started: Instant::now(),
            context: context.clone(),
            facts,
            edge: CallEdge {
                source,
                destination: None,
                service: None,
                reporter: Reporter::Both,
            },
            cluster: None,
            route_name: String::new(),
            route: None,
            method: MethodClass::of(method),
            code: 0,
            details: Cow::Borrowed("via_upstream"),
            flags: ResponseFlags::NONE,
            attempts: 0,
            pods_were_full: false,
            transport_failure: None,
            upstream_time: None,
            received: ByteCount::default(),
            sent: 0,
            picked: None,
            in_flight: None,
            spans: Spans::default(),
            span,
            permit: None,
            deadline: None,
        }
    }

    /// A rule took the call.
    pub(super) fn taken(&mut self, route: Option<Arc<RouteId>>) {
        self.route = route;
    }

    /// The route is decided.
    pub(super) fn forwarded(
        &mut self,
        live: &ActiveConfig,
        cluster: &Arc<mesh::Cluster>,
        route: &str,
    ) {
        self.edge.service = Some(live.service_names(cluster));
        if cluster.inbound {
            self.edge.reporter = Reporter::Destination;
        }
        self.cluster = Some(cluster.clone());
        self.route_name = route.to_owned();
    }

    /// A try begins.
    pub(super) fn attempt(&mut self, picked: Arc<Picked>) {
        self.attempts += 1;
        self.transport_failure = None;
        self.edge.destination = picked.endpoint.workload.clone();
        if matches!(picked.endpoint.target, Target::Peer { .. }) {
            self.edge.reporter = Reporter::Source;
        }
        self.picked = Some(picked);
    }

    pub(super) fn admitted(&mut self, permit: RequestPermit, deadline: Option<Instant>) {
        self.permit = Some(permit);
        self.deadline = deadline;
    }

    /// The time was over in the middle of a try: its endpoint was too slow.
    pub(super) fn abandoned(&self) {
        if let Some(picked) = &self.picked {
            picked.record(&Outcome::failure(mesh::Failure::Timeout), Instant::now());
        }
    }

    /// The mesh itself answers.
    pub(super) fn reply(&mut self, reply: &LocalReply) {
        self.flags |= reply.flags;
        self.details = reply.details.clone();
    }

    /// Ties the record to the response: it is written when the body has ended.
    pub(super) fn watch(mut self, method: &Method, response: Response) -> Response {
        self.code = response.status().as_u16();
        if response.body().is_end_stream() {
            return response;
        }
        // What is bounded of the destination is free once its guest is done, however
        // slowly the caller reads.
        if let Some(production) = response.extensions().get::<Production>() {
            production.hold((self.permit.take(), self.in_flight.take()));
        }
        let length = body_length(method, &response);
        let timer = self
            .deadline
            .map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
        response.map(|body| {
            let watch = ResponseWatch {
                call_log: self,
                timer,
            };
            Watch::with_length(body, watch, length).boxed_unsync()
        })
    }
}

impl CallLog {
    /// Says in the span what the access log says.
    fn describe(&mut self) {
        let (Some(span), Some(facts)) = (&mut self.span, &self.facts) else {
            return;
        };
        if !self.route_name.is_empty() {
            span.rename(format!("{} {}", facts.method, self.route_name));
            span.set(attributes::HTTP_ROUTE, self.route_name.clone());
        }
        span.set(attributes::HTTP_METHOD, facts.method.to_string());
        let (path, query) = match facts.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (facts.path.as_str(), None),
        };
        span.set(attributes::URL_PATH, path.to_owned());
        if let Some(query) = query {
            span.set(attributes::URL_QUERY, query.to_owned());
        }
        span.set(attributes::URL_SCHEME, facts.scheme);
        span.set(attributes::PROTOCOL_VERSION, facts.protocol_version());
        if let Some((service, method)) = facts.grpc_method() {
            span.set(attributes::RPC_SYSTEM, "grpc");
            span.set(attributes::RPC_SERVICE, service.to_owned());
            span.set(attributes::RPC_METHOD, method.to_owned());
        }
        span.set(attributes::SERVER_ADDRESS, facts.authority.clone());
        if let Some(agent) = &facts.user_agent {
            span.set(attributes::USER_AGENT, agent.clone());
        }
        if let Some(client) = facts.client {
            span.set(attributes::CLIENT_ADDRESS, client.to_string());
        }
        let id = self.context.request_id.to_str().unwrap_or_default();
        span.set(attributes::REQUEST_ID, id.to_owned());
        if let Some(cluster) = &self.cluster {
            span.set(attributes::UPSTREAM_CLUSTER, cluster.name.clone());
        }
        if let Some(service) = &self.edge.service {
            span.set(attributes::DESTINATION_SERVICE, service.fqdn.clone());
        }
        if let Some(workload) = &self.edge.destination {
            span.set(attributes::DESTINATION_WORKLOAD, workload.name.clone());
            span.set(
                attributes::DESTINATION_NAMESPACE,
                workload.namespace.clone(),
            );
        }
        span.set(attributes::ATTEMPTS, i64::from(self.attempts));
        let flags = self.flags.to_string();
        if self.code != 0 {
            span.set(attributes::HTTP_STATUS, i64::from(self.code));
        }
        if self.code >= 500 || self.code == 0 {
            let kind = match self.code {
                0 => flags.clone(),
                code => code.to_string(),
            };
            span.fail(kind);
        }
        span.set(attributes::RESPONSE_FLAGS, flags);
    }
}

impl Drop for CallLog {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let received = self.received.get();
        if self.code == 0 {
            // The caller went away before there was a response.
            self.flags |= ResponseFlags::DC;
        }
        let record = CallRecord {
            code: self.code,
            flags: self.flags,
            duration,
            request_bytes: received,
            response_bytes: self.sent,
            trace_id: Some(&self.context.trace)
                .filter(|trace| trace.is_sampled())
                .map(|trace| trace.trace_id),
        };
        if self.mesh.counts_calls {
            self.mesh.metrics.record(&self.edge, &record);
            if let Some(route) = &self.route {
                let routes = &self.mesh.metrics.routes;
                routes.record(route, self.method, self.code);
            }
        }
        if let Some(cluster) = &self.cluster {
            self.mesh.metrics.tallies.record(cluster, &record);
        }
        self.describe();
        let Some(facts) = &self.facts else { return };
        if !self.mesh.access_log.is_on() {
            return;
        }
        let workload =
            |workload: &Arc<Workload>| format!("{}/{}", workload.namespace, workload.name);
        self.mesh.access_log.write(&Line {
            start_time: access_log::timestamp(facts.start),
            method: facts.method.as_str(),
            path: &facts.path,
            protocol: access_log::protocol(facts.protocol),
            response_code: self.code,
            response_flags: self.flags.to_string(),
            response_code_details: &self.details,
            connection_termination_details: None,
            upstream_transport_failure_reason: self.transport_failure.as_deref(),
            bytes_received: received,
            bytes_sent: self.sent,
            duration: access_log::millis(duration),
            upstream_service_time: self.upstream_time.map(access_log::millis),
            x_forwarded_for: facts.forwarded_for.as_deref(),
            user_agent: facts.user_agent.as_deref(),
            request_id: self.context.request_id.to_str().unwrap_or_default(),
            authority: &facts.authority,
            upstream_host: self
                .picked
                .as_ref()
                .map(|picked| picked.endpoint.name.as_str()),
            upstream_cluster: self.cluster.as_ref().map(|cluster| cluster.name.as_str()),
            upstream_local_address: None,
            downstream_local_address: None,
            requested_server_name: None,
            downstream_remote_address: facts.client.map(|client| client.to_string()),
            route_name: Some(self.route_name.as_str()).filter(|name| !name.is_empty()),
            attempts: self.attempts,
            source_workload: self.edge.source.as_ref().map(workload),
            destination_workload: self.edge.destination.as_ref().map(workload),
            trace_id: access_log::trace_id(&self.context.trace),
        });
    }
}

/// Keeps the call log of a response open until the response's body is dropped.
struct ResponseWatch {
    call_log: CallLog,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watcher for ResponseWatch {
    fn frame(&mut self, frame: &Frame<Bytes>) {
        self.call_log.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
    }

    fn pending(&mut self, context: &mut Context<'_>) -> Poll<Error> {
        let Some(timer) = &mut self.timer else {
            return Poll::Pending;
        };
        ready!(timer.poll_unpin(context));
        self.call_log.flags |= ResponseFlags::UT;
        self.call_log.abandoned();
        Poll::Ready(Error::HttpResponseTimeout)
    }

    fn end(&mut self, end: End) {
        self.call_log.flags |= match end {
            End::Complete => ResponseFlags::NONE,
            End::Failed => ResponseFlags::UC,
            End::Cancelled => ResponseFlags::DC,
        };
    }
}
