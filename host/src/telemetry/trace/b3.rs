//! Zipkin's B3 propagation headers, single and multiple
//! (<https://github.com/openzipkin/b3-propagation>).

use http::{HeaderMap, HeaderName, HeaderValue};

use super::context::TraceContext;

/// The form of the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `b3`.
    Single,
    /// `x-b3-traceid` and its like.
    Multiple,
}

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// Whether the headers identify a trace. A sampling decision alone does not.
pub(super) fn is_there(headers: &HeaderMap) -> bool {
    let single = headers.get(SINGLE);
    let single = single.is_some_and(|it| !matches!(it.as_bytes(), b"0" | b"1" | b"d"));
    single || headers.contains_key(TRACE_ID) || headers.contains_key(SPAN_ID)
}

/// Whether the trace is sampled, and the form in which that is said, if the headers do not
/// identify a trace but decide this.
pub(super) fn decision(headers: &HeaderMap) -> Option<(bool, Form)> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    if let Some(single) = text(&SINGLE) {
        return sampled(single).map(|sampled| (sampled, Form::Single));
    }
    let value = match text(&FLAGS) {
        Some("1") => Some("d"),
        _ => text(&SAMPLED),
    };
    sampled(value?).map(|sampled| (sampled, Form::Multiple))
}

fn sampled(text: &str) -> Option<bool> {
    match text {
        "0" | "false" => Some(false),
        "1" | "true" | "d" => Some(true),
        _ => None,
    }
}

/// `None` if absent or malformed.
pub(super) fn read(headers: &HeaderMap) -> Option<TraceContext> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok();
    if let Some(single) = text(&SINGLE) {
        let mut parts = single.split('-');
        let (trace, span) = (parts.next()?, parts.next()?);
        return context(trace, span, parts.next(), Form::Single);
    }
    let sampled = match text(&FLAGS) {
        Some("1") => Some("d"),
        _ => text(&SAMPLED),
    };
    context(text(&TRACE_ID)?, text(&SPAN_ID)?, sampled, Form::Multiple)
}

/// In the form `form`, over what was there.
pub(super) fn write(context: &TraceContext, form: Form, headers: &mut HeaderMap) {
    let sampled = u8::from(context.is_sampled());
    let (trace, span) = (context.trace_id, context.span_id);
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    match form {
        Form::Single => set(SINGLE, format!("{trace:032x}-{span:016x}-{sampled}")),
        Form::Multiple => {
            set(TRACE_ID, format!("{trace:032x}"));
            set(SPAN_ID, format!("{span:016x}"));
            set(SAMPLED, sampled.to_string());
            headers.remove(PARENT_ID);
            headers.remove(FLAGS);
        }
    }
}

fn context(trace: &str, span: &str, sampled: Option<&str>, form: Form) -> Option<TraceContext> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !matches!(trace.len(), 16 | 32) || span.len() != 16 || !is_hex(trace) || !is_hex(span) {
        return None;
    }
    Some(TraceContext {
        trace_id: u128::from_str_radix(trace, 16).ok().filter(|id| *id != 0)?,
        span_id: u64::from_str_radix(span, 16).ok().filter(|id| *id != 0)?,
        is_root: false,
        // Where nothing is said the decision is left to whoever comes next.
        flags: u8::from(!matches!(sampled, Some("0" | "false"))),
        state: None,
        b3: Some(form),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn both_forms_are_read_and_written() {
        let single = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1";
        let read_single = read(&headers(&[("b3", single)])).expect("valid");
        let multiple = [
            ("x-b3-traceid", "4bf92f3577b34da6a3ce929d0e0e4736"),
            ("x-b3-spanid", "00f067aa0ba902b7"),
            ("x-b3-sampled", "1"),
        ];
        let read_multiple = read(&headers(&multiple)).expect("valid");
        assert_eq!(read_single.to_string(), read_multiple.to_string());
        let mut written = HeaderMap::new();
        read_single.inject(&mut written);
        assert_eq!(written["b3"], single);
        assert!(written.contains_key("traceparent"));
        let mut written = HeaderMap::new();
        read_multiple.inject(&mut written);
        for (name, value) in multiple {
            assert_eq!(written[name], value);
        }
        let short = read(&headers(&[("b3", "a3ce929d0e0e4736-00f067aa0ba902b7-0")]));
        assert!(!short.expect("valid").is_sampled());
    }

    #[test]
    fn decision_alone_is_read() {
        for (pairs, expected) in [
            (&[("b3", "0")][..], Some((false, Form::Single))),
            (&[("b3", "1")], Some((true, Form::Single))),
            (&[("b3", "d")], Some((true, Form::Single))),
            (&[("b3", "x")], None),
            (&[("x-b3-sampled", "0")], Some((false, Form::Multiple))),
            (&[("x-b3-sampled", "false")], Some((false, Form::Multiple))),
            (&[("x-b3-sampled", "1")], Some((true, Form::Multiple))),
            (&[("x-b3-flags", "1")], Some((true, Form::Multiple))),
            (&[("x-b3-flags", "0")], None),
            (&[], None),
        ] {
            assert_eq!(decision(&headers(pairs)), expected, "{pairs:?}");
        }
    }

    #[test]
    fn nonsense_is_no_context() {
        for bad in ["0", "", "-", "x-y", "+bf92f3577b34da6-00f067aa0ba902b7-1"] {
            let value = HeaderValue::from_str(bad).expect("a value");
            let headers = HeaderMap::from_iter([(SINGLE, value)]);
            assert_eq!(read(&headers), None, "{bad}");
        }
    }
}
