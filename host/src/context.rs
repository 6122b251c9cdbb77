//! The context that travels with a request from hop to hop: the trace, the request's
//! id, and the depth of the chain of calls.
//!
//! The host knows which request an instance is serving, so no guest needs to forward
//! headers for this.

use std::borrow::Cow;

use galleria_mesh::inbound::Peer;
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::SpanKind;

use crate::Request;
use crate::telemetry::trace::{PropagatedHeaders, Service, Span, TraceContext, Tracer};

/// The longest chain of calls; a longer one is rejected as a loop. Real call graphs
/// are rarely deeper than ten.
pub(crate) const HOPS_MAX: u32 = 32;

/// The context of one request at one hop.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub trace: TraceContext,
    /// `x-request-id`, the same at every hop.
    pub request_id: HeaderValue,
    /// W3C Baggage, propagated unchanged.
    pub baggage: Option<HeaderValue>,
    /// 0 at the edge, plus one for every call between services.
    pub hops: u32,
    /// Whether another host of the mesh sent the request. That host reports the call.
    pub from_peer: bool,
    /// Where spans of the guest's work are recorded; `None` if the trace is not sampled.
    pub recording: Option<Recording>,
}

/// The tracer for spans of a guest's work, and the service that they belong to.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub tracer: Tracer,
    pub service: Service,
}

impl RequestContext {
    /// An unsampled context, for a request that does not pass through the mesh.
    pub(crate) fn unrecorded(request_id: HeaderValue) -> Self {
        Self {
            trace: TraceContext {
                flags: 0,
                ..TraceContext::begin()
            },
            request_id,
            baggage: None,
            hops: 0,
            from_peer: false,
            recording: None,
        }
    }

    /// Adds to `request` what another host of the mesh needs to continue this context.
    /// `peer` is who calls.
    pub(crate) fn for_peer(&self, peer: &Peer, mut request: Request) -> Request {
        let headers = request.headers_mut();
        headers.insert(HOPS, self.hops.into());
        match HeaderValue::from_str(&peer.to_string()) {
            Ok(peer) => headers.insert(SOURCE, peer),
            Err(_) => headers.remove(SOURCE),
        };
        request
    }

    /// Reads the context of a request that another host of the mesh sent, and for whom
    /// it was sent. Removes the headers that only hosts use.
    pub(crate) fn from_peer_headers(headers: &mut HeaderMap) -> Option<(Self, Peer)> {
        let hops = headers.remove(HOPS)?.to_str().ok()?.parse().ok()?;
        let peer = headers.remove(SOURCE);
        let peer = peer.and_then(|peer| peer.to_str().ok()?.parse().ok());
        let PropagatedHeaders { trace, baggage, .. } = PropagatedHeaders::read(headers);
        let context = Self {
            trace: trace.unwrap_or_else(TraceContext::begin),
            request_id: headers.get(REQUEST_ID)?.clone(),
            baggage,
            hops,
            from_peer: true,
            recording: None,
        };
        Some((context, peer.unwrap_or(Peer::Unknown)))
    }

    /// A span of the guest's work on this request.
    pub(crate) fn span(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Option<Span> {
        let Recording { tracer, service } = self.recording.as_ref()?;
        tracer.span(&self.trace, service.clone(), kind, name)
    }
}

/// The depth of the chain of calls, from one host of the mesh to another.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("x-galleria-hops");
/// Who calls, from one host of the mesh to another.
const SOURCE: HeaderName = HeaderName::from_static("x-galleria-source");

/// On a response to another host of the mesh: no NetworkPolicy allows the connection. The
/// value is `%RESPONSE_CODE_DETAILS%`.
pub(crate) const DENIED: HeaderName = HeaderName::from_static("x-galleria-denied");
pub(crate) use galleria_mesh::edge::REQUEST_ID;

/// A new `x-request-id`. The generator of the thread is as unpredictable as the system's, and
/// needs no system call.
pub(crate) fn request_id() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("hexadecimal digits and hyphens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_is_propagated_to_another_host() {
        let context = RequestContext {
            trace: TraceContext::begin(),
            request_id: HeaderValue::from_static("some-id"),
            baggage: None,
            hops: 7,
            from_peer: false,
            recording: None,
        };
        let peer: Peer = "workload shop/ui-v1 default".parse().expect("a peer");
        let mut request = context.for_peer(&peer, Request::new(crate::body::empty()));
        let headers = request.headers_mut();
        context.trace.inject(headers);
        headers.insert(REQUEST_ID, context.request_id.clone());
        assert_eq!(headers[SOURCE], "workload shop/ui-v1 default");
        let (taken, caller) = RequestContext::from_peer_headers(headers).expect("a context");
        assert_eq!(caller, peer);
        assert!(!headers.contains_key(SOURCE), "no guest sees it");
        assert_eq!(taken.hops, 7);
        assert_eq!(taken.trace.to_string(), context.trace.to_string());
        assert!(taken.from_peer);
        assert!(!headers.contains_key(HOPS), "no guest sees it");
    }

    #[test]
    fn malformed_trace_does_not_reset_the_depth() {
        let mut headers = HeaderMap::new();
        headers.insert(HOPS, 31.into());
        headers.insert(REQUEST_ID, HeaderValue::from_static("some-id"));
        headers.insert("traceparent", HeaderValue::from_static("nonsense"));
        let (taken, _) = RequestContext::from_peer_headers(&mut headers).expect("a context");
        assert_eq!(taken.hops, 31);
    }

    #[test]
    fn host_that_does_not_say_who_calls_is_believed_in_everything_else() {
        for source in [None, Some("nonsense")] {
            let mut headers = HeaderMap::new();
            headers.insert(HOPS, 1.into());
            headers.insert(REQUEST_ID, HeaderValue::from_static("some-id"));
            if let Some(source) = source {
                headers.insert(SOURCE, HeaderValue::from_static(source));
            }
            let (taken, caller) =
                RequestContext::from_peer_headers(&mut headers).expect("a context");
            assert_eq!((taken.hops, caller), (1, Peer::Unknown));
            assert!(!headers.contains_key(SOURCE));
        }
    }

    #[test]
    fn request_ids_are_version_four_uuids() {
        let id = request_id();
        let text = id.to_str().expect("text");
        assert_eq!((text.len(), text.as_bytes()[14]), (36, b'4'), "{text}");
        assert_ne!(id, request_id());
    }
}
