//! The trace context of one request: W3C Trace Context
//! (<https://www.w3.org/TR/trace-context/>), or B3.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::Rng;

use super::b3;

/// Bytes of `tracestate` that are propagated: many times the 512 that every
/// participant must propagate.
const STATE_MAX: usize = 8_192;

/// Characters of `traceparent` in version 00.
const TRACEPARENT_LENGTH: usize = 55;

/// The one flag that is known.
const SAMPLED: u8 = 1;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub trace_id: u128,
    /// The span that made the request.
    pub span_id: u64,
    /// Whether the trace begins here, so that there is no such span.
    pub is_root: bool,
    pub flags: u8,
    /// `tracestate`, propagated unchanged.
    pub state: Option<HeaderValue>,
    /// The B3 form in which the context came, and in which it is propagated.
    pub b3: Option<b3::Form>,
}

impl TraceContext {
    /// Reads `traceparent` and `tracestate`; `None` if absent, malformed or repeated.
    pub(super) fn from_w3c(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let (parent, None) = (parents.next()?.to_str().ok()?, parents.next()) else {
            return None;
        };
        // A later version may add fields, and what they look like is not known.
        let (parent, later) = parent.split_at_checked(TRACEPARENT_LENGTH)?;
        let mut parts = parent.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let known_length = later.is_empty() || version != "00" && later.starts_with('-');
        let lengths =
            version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
        if !lengths || !known_length || version == "ff" || !is_lower_hex(parent) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?;
        let span_id = u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?;
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Self {
            trace_id,
            span_id,
            is_root: false,
            // The others are reserved, and not propagated.
            flags: flags & SAMPLED,
            state: list(headers, &TRACESTATE, STATE_MAX),
            b3: None,
        })
    }

    /// Whether spans of this trace are recorded.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
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

    /// The same trace with a new span below this one.
    pub(crate) fn child(&self) -> Self {
        Self {
            span_id: rand::rng().random_range(1..=u64::MAX),
            is_root: false,
            ..self.clone()
        }
    }

    /// The id of the span that made the request; 0 if the trace begins here.
    pub(crate) fn parent(&self) -> u64 {
        match self.is_root {
            true => 0,
            false => self.span_id,
        }
    }

    /// Writes this context into `headers` and replaces any other.
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

/// Several fields with the name `name` as one; `None` if it is longer than `max`.
pub(super) fn list(headers: &HeaderMap, name: &HeaderName, max: usize) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(first).filter(|it| it.len() <= max).cloned();
    };
    let mut all = first.as_bytes().to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    let all = Some(all).filter(|all| all.len() <= max)?;
    HeaderValue::from_maybe_shared(bytes::Bytes::from(all)).ok()
}

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
    use super::*;

    fn read(value: &str) -> Option<TraceContext> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, value.parse().expect("a header value"));
        TraceContext::from_w3c(&headers)
    }

    #[test]
    fn traceparent_is_read_and_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(read(text).expect("valid").to_string(), text);
    }

    #[test]
    fn malformed_traceparents_are_ignored() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn later_versions_and_unknown_flags_are_read_as_far_as_they_are_known() {
        for (head, tail, sampled) in [
            ("01", "01", true),
            ("01", "01-", true),
            ("cc", "01-what.the-FUTURE=will be", true),
            ("01", "00-more", false),
            ("00", "ff", true),
            ("00", "fe", false),
            ("00", "09", true),
        ] {
            let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
            let context = read(&format!("{head}-{ids}-{tail}")).expect("valid");
            let expected = format!("00-{ids}-{:02x}", u8::from(sampled));
            assert_eq!(context.to_string(), expected, "{head} {tail}");
        }
    }

    #[test]
    fn repeated_traceparent_is_no_context_and_repeated_tracestate_is_one_list() {
        let value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(value));
        for state in ["a=1", "b=2,c=3", "d=4"] {
            headers.append(TRACESTATE, HeaderValue::from_static(state));
        }
        let read = TraceContext::from_w3c(&headers).expect("valid");
        assert_eq!(read.state.expect("a state"), "a=1,b=2,c=3,d=4");
        headers.append(TRACEPARENT, HeaderValue::from_static(value));
        assert_eq!(TraceContext::from_w3c(&headers), None);
    }

    #[test]
    fn a_child_keeps_the_trace_and_changes_the_span() {
        let parent = TraceContext::begin();
        let child = parent.child();
        assert_eq!(child.trace_id, parent.trace_id);
        assert_ne!(child.span_id, parent.span_id);
    }
}
