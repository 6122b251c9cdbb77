//! What travels with a request from hop to hop: trace, identity of the request,
//! and how deep the chain of calls already is.
//!
//! The host knows which request an instance is serving, so none of this depends
//! on the guest forwarding headers.

mod b3;

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::SpanKind;
use rand::Rng;

use crate::Request;
use crate::telemetry::trace::{Service, Span, Tracer};

/// Calls that may be nested before a chain is taken for a loop. Real call
/// graphs are rarely deeper than ten.
pub(crate) const HOPS_MAX: u32 = 32;

/// The context of one request at one hop.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext {
    pub trace: TraceContext,
    /// `x-request-id`, the same at every hop.
    pub request_id: HeaderValue,
    /// W3C Baggage, passed on as it came.
    pub baggage: Option<HeaderValue>,
    /// 0 at the edge, one more with every call between services.
    pub hops: u32,
    /// It came from another host of the mesh, which has told of the call already.
    pub from_peer: bool,
    /// What goes on within a guest is told there; None where nobody wants to know.
    pub recording: Option<Recording>,
}

/// Where the spans of a guest's work go, and whose they are.
#[derive(Debug, Clone)]
pub(crate) struct Recording {
    pub tracer: Tracer,
    pub service: Service,
}

impl RequestContext {
    /// One that nobody records, of a request that comes past the mesh.
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

    /// `request` as it goes to another host of the mesh: with what that host
    /// cannot know otherwise.
    pub(crate) fn for_peer(&self, mut request: Request) -> Request {
        request.headers_mut().insert(HOPS, self.hops.into());
        request
    }

    /// The context in which another host of the mesh hands a request over.
    pub(crate) fn taken_over(headers: &mut HeaderMap) -> Option<Self> {
        let hops = headers.remove(HOPS)?.to_str().ok()?.parse().ok()?;
        let PropagatedHeaders { trace, baggage, .. } = PropagatedHeaders::read(headers);
        Some(Self {
            trace: trace.unwrap_or_else(TraceContext::begin),
            request_id: headers.get(REQUEST_ID)?.clone(),
            baggage,
            hops,
            from_peer: true,
            recording: None,
        })
    }

    /// A span of the guest's work on this request.
    pub(crate) fn span(&self, kind: SpanKind, name: impl Into<Cow<'static, str>>) -> Option<Span> {
        let Recording { tracer, service } = self.recording.as_ref()?;
        tracer.span(&self.trace, service.clone(), kind, name)
    }
}

/// How deep the chain of calls is, between hosts of the mesh.
pub(crate) const HOPS: HeaderName = HeaderName::from_static("x-galleria-hops");
pub(crate) use galleria_mesh::edge::REQUEST_ID;

/// W3C Baggage (<https://www.w3.org/TR/baggage/>).
pub(crate) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Bytes of it that everybody has to pass on; more is not.
const BAGGAGE_MAX: usize = 8_192;

/// Bytes of `tracestate` that are passed on: many times the 512 that everybody has
/// to.
const STATE_MAX: usize = 8_192;

/// What a request's headers say of its context.
#[derive(Debug)]
pub(crate) struct PropagatedHeaders {
    pub trace: Option<TraceContext>,
    pub baggage: Option<HeaderValue>,
    /// Headers that were broken or too long, and are not gone by.
    pub ignored: u64,
}

impl PropagatedHeaders {
    /// Reads `traceparent` and `tracestate`, or else B3, and `baggage`.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut ignored = 0;
        let mut w3c = from_w3c(headers);
        let parent = headers.contains_key(TRACEPARENT);
        ignored += u64::from(parent && w3c.is_none());
        let state = headers.contains_key(TRACESTATE);
        let kept = w3c.as_ref().is_some_and(|trace| trace.state.is_some());
        ignored += u64::from(state && !kept);
        if w3c.is_none() {
            w3c = b3::read(headers);
            ignored += u64::from(w3c.is_none() && b3::is_there(headers));
        }
        let baggage = headers.get(BAGGAGE);
        let fits = baggage.filter(|it| it.len() <= BAGGAGE_MAX).cloned();
        ignored += u64::from(baggage.is_some() && fits.is_none());
        Self {
            trace: w3c,
            baggage: fits,
            ignored,
        }
    }
}

/// A new `x-request-id`.
pub(crate) fn request_id() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).expect("hexadecimal digits and hyphens")
}

/// W3C Trace Context (<https://www.w3.org/TR/trace-context/>), or B3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub trace_id: u128,
    /// The span that made the request which carries this context.
    pub span_id: u64,
    /// It began here: there is no such span.
    pub is_root: bool,
    pub flags: u8,
    /// `tracestate`, passed on as it came.
    pub state: Option<HeaderValue>,
    /// It came as B3 and goes on so too.
    pub b3: Option<b3::Form>,
}

impl TraceContext {
    /// Whether somebody wants to know of it.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// A new trace with a random id, sampled.
    pub(crate) fn begin() -> Self {
        let mut rng = rand::rng();
        Self {
            trace_id: rng.random_range(1..=u128::MAX),
            span_id: rng.random_range(1..=u64::MAX),
            is_root: true,
            flags: 1,
            state: None,
            b3: None,
        }
    }

    /// The same trace, as a new span below this one.
    pub(crate) fn child(&self) -> Self {
        Self {
            span_id: rand::rng().random_range(1..=u64::MAX),
            is_root: false,
            ..self.clone()
        }
    }

    /// The id of the span that made the request; 0 where there is none.
    pub(crate) fn parent(&self) -> u64 {
        match self.is_root {
            true => 0,
            false => self.span_id,
        }
    }

    /// Writes this context into `headers`, over what was there.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.to_string()) {
            headers.insert(TRACEPARENT, value);
        }
        match &self.state {
            Some(state) => headers.insert(TRACESTATE, state.clone()),
            None => headers.remove(TRACESTATE),
        };
        if let Some(form) = self.b3 {
            b3::write(self, form, headers);
        }
    }
}

fn from_w3c(headers: &HeaderMap) -> Option<TraceContext> {
    let parent = headers.get(TRACEPARENT)?.to_str().ok()?;
    let mut parts = parent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let known_length = version != "00" || parts.next().is_none();
    let lengths = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !lengths || !known_length || version == "ff" || !is_lower_hex(parent) {
        return None;
    }
    let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
    let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(TraceContext {
        trace_id,
        span_id,
        is_root: false,
        flags,
        state: headers
            .get(TRACESTATE)
            .filter(|state| state.len() <= STATE_MAX)
            .cloned(),
        b3: None,
    })
}

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'))
}

impl fmt::Display for TraceContext {
    /// The value of `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id, self.span_id, self.flags
        )
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn read(value: &str) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, value.parse().expect("a header value"));
        PropagatedHeaders::read(&headers).trace
    }

    #[test]
    fn headers_that_are_thrown_away_are_counted() {
        const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let long = "x".repeat(BAGGAGE_MAX + 1);
        for (headers, ignored) in [
            (&[][..], 0),
            (
                &[(TRACEPARENT, GOOD), (TRACESTATE, "a=1"), ("baggage", "b=1")],
                0,
            ),
            (&[(TRACEPARENT, "nonsense")], 1),
            (&[(TRACEPARENT, "nonsense"), (TRACESTATE, "a=1")], 2),
            (&[(TRACEPARENT, GOOD), (TRACESTATE, &long)], 1),
            (&[("b3", "nonsense")], 1),
            (&[("b3", "nonsense"), (TRACEPARENT, GOOD)], 0),
            (&[("x-b3-traceid", "nonsense"), ("x-b3-spanid", "0")], 1),
            (&[("baggage", &long)], 1),
        ] {
            let pairs = headers.iter().map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes());
                let value = HeaderValue::from_str(value);
                (name.expect("a name"), value.expect("a value"))
            });
            let read = PropagatedHeaders::read(&pairs.collect());
            assert_eq!(read.ignored, ignored, "{headers:?}");
        }
    }

    #[test]
    fn traceparent_is_read_and_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(text).expect("valid").to_string(), text);
    }

    #[test]
    fn malformed_traceparents_begin_a_new_trace() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn context_survives_the_way_to_another_host() {
        let context = RequestContext {
            trace: TraceContext::begin(),
            request_id: HeaderValue::from_static("some-id"),
            baggage: None,
            hops: 7,
            from_peer: false,
            recording: None,
        };
        let body = http_body_util::Empty::new().map_err(|never| match never {});
        let mut request = context.for_peer(Request::new(body.boxed_unsync()));
        let headers = request.headers_mut();
        context.trace.inject(headers);
        headers.insert(REQUEST_ID, context.request_id.clone());
        let taken = RequestContext::taken_over(headers).expect("a context");
        assert_eq!(taken.hops, 7);
        assert_eq!(taken.trace.to_string(), context.trace.to_string());
        assert!(taken.from_peer);
        assert!(!headers.contains_key(HOPS), "no guest sees it");
    }

    #[test]
    fn a_bad_trace_does_not_make_a_loop_endless() {
        let mut headers = HeaderMap::new();
        headers.insert(HOPS, 31.into());
        headers.insert(REQUEST_ID, HeaderValue::from_static("some-id"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        let taken = RequestContext::taken_over(&mut headers).expect("a context");
        assert_eq!(taken.hops, 31);
    }

    #[test]
    fn request_ids_are_version_four_uuids() {
        let id = request_id();
        let text = id.to_str().expect("text");
        assert_eq!((text.len(), text.as_bytes()[14]), (36, b'4'), "{text}");
        assert_ne!(id, request_id());
    }

    #[test]
    fn a_child_keeps_the_trace_and_changes_the_span() {
        let parent = TraceContext::begin();
        let child = parent.child();
        assert_eq!(child.trace_id, parent.trace_id);
        assert_ne!(child.span_id, parent.span_id);
    }
}
