//! Spans of every step of a request, exported to an OpenTelemetry collector.
//!
//! A span starts where a step starts, and is exported when it is dropped. Nothing here
//! waits: spans that the collector does not accept are dropped and counted. A request
//! that is not sampled has no spans and costs nothing here.

pub(crate) mod attributes;
mod b3;
mod context;
pub(crate) mod control;
mod export;
mod propagation;
pub(crate) mod spans;

pub(crate) use context::TraceContext;
pub(crate) use export::TraceExport;
pub(crate) use propagation::{BAGGAGE, PropagatedHeaders};

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use galleria_mesh as mesh;
use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use prometheus::IntCounter;
use tokio::sync::mpsc;

use attributes::Attribute;

/// Where spans are exported, and which share of the traces is sampled.
#[derive(Debug, Clone)]
pub(crate) struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// `None` if nothing is exported.
    exporter: Option<mpsc::Sender<EndedSpan>>,
    dropped: IntCounter,
    /// Share of the traces that begin here, from 0 to 1.
    ratio: f64,
}

/// A span that has ended, and its service.
#[derive(Debug)]
struct EndedSpan {
    service: Service,
    span: SpanData,
}

/// The service of a span: OpenTelemetry's `service.name`.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    /// The host itself: its gateways and its control side.
    Gateway,
    Workload(Arc<mesh::Workload>),
}

/// A span in progress. Dropping it ends and exports it.
#[derive(Debug)]
pub(crate) struct Span {
    tracer: Tracer,
    /// `None` once it has ended.
    data: Option<Box<EndedSpan>>,
}

impl Tracer {
    /// Exports nothing; trace context is propagated all the same.
    pub(crate) fn off(ratio: f64, dropped: IntCounter) -> Self {
        Self(Arc::new(Inner {
            exporter: None,
            dropped,
            ratio,
        }))
    }

    fn new(ratio: f64, dropped: IntCounter, exporter: mpsc::Sender<EndedSpan>) -> Self {
        Self(Arc::new(Inner {
            exporter: Some(exporter),
            dropped,
            ratio,
        }))
    }

    /// A new trace, sampled or not.
    pub(crate) fn begin(&self) -> TraceContext {
        let trace = TraceContext::begin();
        let sampled = is_sampled(trace.trace_id, self.0.ratio);
        TraceContext {
            flags: u8::from(sampled),
            ..trace
        }
    }

    /// A span of `service` below `parent`, if the trace is sampled and exported.
    pub(crate) fn span(
        &self,
        parent: &TraceContext,
        service: Service,
        kind: SpanKind,
        name: impl Into<Cow<'static, str>>,
    ) -> Option<Span> {
        self.0.exporter.as_ref().filter(|_| parent.is_sampled())?;
        let context = parent.child();
        let now = SystemTime::now();
        let span = SpanData {
            span_context: SpanContext::new(
                TraceId::from(context.trace_id),
                SpanId::from(context.span_id),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from(parent.parent()),
            parent_span_is_remote: false,
            span_kind: kind,
            name: name.into(),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope(),
        };
        Some(Span {
            tracer: self.clone(),
            data: Some(Box::new(EndedSpan { service, span })),
        })
    }

    /// Passes `span` to the exporter, which drops it if it has too many already.
    fn export(&self, span: EndedSpan) {
        if let Some(exporter) = &self.0.exporter
            && exporter.try_send(span).is_err()
        {
            self.0.dropped.inc();
        }
    }
}

/// As OpenTelemetry's `TraceIdRatioBased`: every host makes the same decision for a trace.
fn is_sampled(trace_id: u128, ratio: f64) -> bool {
    let place = (trace_id as u64) >> 1;
    ratio >= 1.0 || (place as f64) < ratio * (1_u64 << 63) as f64
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("galleria")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

impl Span {
    pub(crate) fn set(&mut self, attribute: Attribute, value: impl Into<Value>) {
        if let Some(data) = &mut self.data {
            data.span
                .attributes
                .push(KeyValue::new(attribute.name, value));
        }
    }

    pub(crate) fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(data) = &mut self.data {
            data.span.name = name.into();
        }
    }

    /// Marks the span as failed; `kind` is `error.type`.
    pub(crate) fn fail(&mut self, kind: impl Into<String>) {
        let kind = kind.into();
        if let Some(data) = &mut self.data {
            data.span.status = Status::error("");
        }
        self.set(attributes::ERROR_TYPE, kind);
    }

    /// The context for what happens within this span.
    pub(crate) fn within(&self, parent: &TraceContext) -> TraceContext {
        let Some(data) = &self.data else {
            return parent.clone();
        };
        let id = data.span.span_context.span_id();
        TraceContext {
            span_id: u64::from_be_bytes(id.to_bytes()),
            is_root: false,
            ..parent.clone()
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut ended) = self.data.take() else {
            return;
        };
        ended.span.end_time = SystemTime::now();
        self.tracer.export(*ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_sampled_traces_is_the_ratio() {
        let tracer = Tracer::off(
            0.25,
            IntCounter::new("dropped", "spans").expect("a counter"),
        );
        let sampled = (0..10_000).filter(|_| tracer.begin().is_sampled()).count();
        assert!((2_200..2_800).contains(&sampled), "{sampled}");
        assert!(is_sampled(u128::MAX, 1.0) && !is_sampled(0, 0.0));
    }

    #[test]
    fn spans_are_exported_when_they_end_and_dropped_when_the_queue_is_full() {
        let dropped = IntCounter::new("dropped", "spans").expect("a counter");
        let (exporter, mut ended) = mpsc::channel(2);
        let tracer = Tracer::new(1.0, dropped.clone(), exporter);
        let parent = tracer.begin();
        let span =
            |name: &'static str| tracer.span(&parent, Service::Gateway, SpanKind::Server, name);
        let mut outer = span("outer").expect("a span");
        outer.set(attributes::HTTP_METHOD, "GET");
        let inner_parent = outer.within(&parent);
        drop(tracer.span(&inner_parent, Service::Gateway, SpanKind::Internal, "inner"));
        let inner = ended.try_recv().expect("exported").span;
        drop(outer);
        let outer = ended.try_recv().expect("exported").span;
        assert_eq!(inner.parent_span_id, outer.span_context.span_id());
        assert_eq!(inner.span_context.trace_id(), outer.span_context.trace_id());
        assert!(outer.end_time >= inner.end_time);
        for _ in 0..5 {
            drop(span("more"));
        }
        assert_eq!(dropped.get(), 3);
        let unsampled = TraceContext { flags: 0, ..parent };
        let none = tracer.span(&unsampled, Service::Gateway, SpanKind::Internal, "none");
        assert!(none.is_none());
    }
}
