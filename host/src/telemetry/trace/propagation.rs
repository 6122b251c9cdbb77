//! The headers that carry a trace from hop to hop.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::b3;
use super::context::{TRACEPARENT, TRACESTATE, TraceContext, list};

/// W3C Baggage (<https://www.w3.org/TR/baggage/>).
pub(crate) const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Bytes of baggage that every participant must propagate; longer baggage is dropped.
const BAGGAGE_MAX: usize = 8_192;

/// The trace headers of a request.
#[derive(Debug)]
pub(crate) struct PropagatedHeaders {
    pub trace: Option<TraceContext>,
    /// Whether a trace that begins here is sampled, if the caller has decided it.
    decision: Option<(bool, b3::Form)>,
    pub baggage: Option<HeaderValue>,
    /// Number of headers that were malformed or too long and are therefore ignored.
    pub ignored: u64,
}

impl PropagatedHeaders {
    /// Reads `traceparent` and `tracestate`, or else B3, and `baggage`.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut ignored = 0;
        let mut w3c = TraceContext::from_w3c(headers);
        let parent = headers.contains_key(TRACEPARENT);
        ignored += u64::from(parent && w3c.is_none());
        let state = headers.contains_key(TRACESTATE);
        let kept = w3c.as_ref().is_some_and(|trace| trace.state.is_some());
        ignored += u64::from(state && !kept);
        if w3c.is_none() {
            w3c = b3::read(headers);
            ignored += u64::from(w3c.is_none() && b3::is_there(headers));
        }
        let decision = match w3c {
            None => b3::decision(headers),
            Some(_) => None,
        };
        let baggage = list(headers, &BAGGAGE, BAGGAGE_MAX);
        ignored += u64::from(baggage.is_none() && headers.contains_key(BAGGAGE));
        Self {
            trace: w3c,
            decision,
            baggage,
            ignored,
        }
    }

    /// A trace that begins here, sampled as the caller has decided, or else as `begun` is.
    pub(crate) fn begin(&self, begun: TraceContext) -> TraceContext {
        match self.decision {
            None => begun,
            Some((sampled, form)) => TraceContext {
                flags: u8::from(sampled),
                b3: Some(form),
                ..begun
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_headers_are_counted() {
        const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let long = "x".repeat(BAGGAGE_MAX + 1);
        for (headers, ignored) in [
            (&[][..], 0),
            (
                &[
                    ("traceparent", GOOD),
                    ("tracestate", "a=1"),
                    ("baggage", "b=1"),
                ],
                0,
            ),
            (&[("traceparent", "nonsense")], 1),
            (&[("traceparent", "nonsense"), ("tracestate", "a=1")], 2),
            (&[("traceparent", GOOD), ("tracestate", &long)], 1),
            (&[("b3", "nonsense")], 1),
            (&[("b3", "nonsense"), ("traceparent", GOOD)], 0),
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
}
