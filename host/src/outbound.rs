//! Turns a guest's outgoing requests into calls of the guest's workload.

mod server;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use galleria_mesh as mesh;
use galleria_mesh::edge::remove_claims;
use wasmtime_wasi_http::Error;

use crate::Response;
use crate::body::{Count, Rest, detach};
use crate::call::{Call, Mesh, Source};
use crate::context::{REQUEST_ID, RequestContext, request_id};
use crate::guest::{Outbound, Outgoing, Server};
use crate::telemetry::trace::{BAGGAGE, PropagatedHeaders};
use crate::workload::OutboundFactory;
use server::NoServer;

/// Creates the handles by which guests call. Pods are planned before the mesh exists, so
/// the handles are connected to it later.
#[derive(Default)]
pub(crate) struct OutboundCalls(Arc<OnceLock<Weak<Mesh>>>);

impl OutboundCalls {
    /// Connects all handles to the mesh, including existing ones.
    pub(crate) fn connect(&self, mesh: &Arc<Mesh>) {
        // The mesh is set only once; a second call has no effect.
        let _ = self.0.set(Arc::downgrade(mesh));
    }
}

impl OutboundFactory for OutboundCalls {
    fn outbound(&self, workload: &Arc<mesh::Workload>, address: &str) -> Arc<dyn Outbound> {
        Arc::new(WorkloadOutbound {
            mesh: self.0.clone(),
            workload: workload.clone(),
            address: address.parse().ok(),
        })
    }
}

/// The outgoing requests of one pod's guests.
struct WorkloadOutbound {
    mesh: Arc<OnceLock<Weak<Mesh>>>,
    workload: Arc<mesh::Workload>,
    /// The pod's own.
    address: Option<IpAddr>,
}

impl Outbound for WorkloadOutbound {
    fn call(&self, outgoing: Outgoing) -> BoxFuture<'static, Result<Response, Error>> {
        let mesh = self.mesh.get().and_then(Weak::upgrade);
        let source = Source::Workload(self.workload.clone(), self.address);
        async move {
            let mesh = mesh.ok_or(Error::DestinationUnavailable)?;
            let context = context(&outgoing, &mesh);
            let mut request = outgoing.request;
            let headers = request.headers_mut();
            remove_claims(headers);
            headers.insert(REQUEST_ID, context.request_id.clone());
            if let Some(baggage) = &context.baggage {
                headers.entry(BAGGAGE).or_insert_with(|| baggage.clone());
            }
            let (head, body) = request.into_parts();
            let (body, received) = Count::boxed(body, Rest::All);
            let call = Call {
                source,
                request: http::Request::from_parts(head, body),
                received,
                refusal: None,
                context: Arc::new(context),
                timeout: outgoing.timeout,
            };
            Ok(mesh.call(call).await.map(detach))
        }
        .boxed()
    }

    fn server(&self, host: &str, port: u16) -> Result<Server, String> {
        let mesh = self.mesh.get().and_then(Weak::upgrade);
        let mesh = mesh.ok_or("the host is starting")?;
        let live = mesh.current.load();
        let targets = server::targets(&live.snapshot, &self.workload, host, port);
        let targets = targets.map_err(|why| match why {
            NoServer::Undeclared(why) => why,
            NoServer::Denied(denial) => {
                mesh.network_denials.report(&denial);
                denial.message
            }
        })?;
        Ok(Server {
            client: format!("{}/{}", self.workload.namespace, self.workload.name),
            targets,
        })
    }
}

/// The context of an outgoing request: that of the request that the guest is serving.
/// Trace headers that the guest sets itself take precedence.
fn context(outgoing: &Outgoing, mesh: &Mesh) -> RequestContext {
    let mut propagated = PropagatedHeaders::read(outgoing.request.headers());
    mesh.metrics
        .trace_headers_ignored
        .inc_by(propagated.ignored);
    let own = propagated.trace.take();
    match &outgoing.context {
        Some(serving) => RequestContext {
            trace: own.unwrap_or_else(|| serving.trace.clone()),
            request_id: serving.request_id.clone(),
            baggage: serving.baggage.clone(),
            hops: serving.hops,
            from_peer: false,
            recording: None,
        },
        None => RequestContext {
            trace: own.unwrap_or_else(|| propagated.begin(mesh.tracer.begin())),
            request_id: request_id(),
            baggage: None,
            hops: 0,
            from_peer: false,
            recording: None,
        },
    }
}
