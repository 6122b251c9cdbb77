//! Spans: what became of a request at each step of its way, told to an
//! OpenTelemetry collector.
//!
//! A span is begun where something begins, and told when it is dropped. Nothing
//! here waits: what the collector cannot take is dropped and counted. A request
//! that is not sampled has no spans and costs nothing here.

pub(crate) mod attributes;
mod b3;
mod context;
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

/// Where spans go, and how many traces have them.
#[derive(Debug, Clone)]
pub(crate) struct Tracer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// None where nothing is exported.
    exporter: Option<mpsc::Sender<EndedSpan>>,
    dropped: IntCounter,
    /// Of the traces that begin here, from 0 to 1.
    ratio: f64,
}

/// A span that has ended, and whose it is.
#[derive(Debug)]
struct EndedSpan {
    service: Service,
    span: SpanData,
}

/// What a span speaks for: OpenTelemetry's `service.name`.
#[derive(Debug, Clone)]
pub(crate) enum Service {
    /// The way in.
    Gateway,
    Workload(Arc<mesh::Workload>),
}

/// Something that goes on. Dropping it tells it.
#[derive(Debug)]
pub(crate) struct Span {
    tracer: Tracer,
    /// None once it is told.
    told: Option<Box<EndedSpan>>,
}

impl Tracer {
    /// One that tells nobody: context is carried all the same.
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

    /// A trace that begins here, sampled or not.
    pub(crate) fn begin(&self) -> TraceContext {
        let trace = TraceContext::begin();
        let sampled = is_sampled(trace.trace_id, self.0.ratio);
        TraceContext {
            flags: u8::from(sampled),
            ..trace
        }
    }

    /// A span of `service` below `parent`, if anybody wants to know.
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
            told: Some(Box::new(EndedSpan { service, span })),
        })
    }
}

/// As OpenTelemetry's `TraceIdRatioBased`: every host decides the same of a trace.
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
        if let Some(told) = &mut self.told {
            told.span
                .attributes
                .push(KeyValue::new(attribute.name, value));
        }
    }

    pub(crate) fn rename(&mut self, name: impl Into<Cow<'static, str>>) {
        if let Some(told) = &mut self.told {
            told.span.name = name.into();
        }
    }

    /// It did not do what it was there for; `kind` is `error.type`.
    pub(crate) fn fail(&mut self, kind: impl Into<String>) {
        let kind = kind.into();
        if let Some(told) = &mut self.told {
            told.span.status = Status::error("");
        }
        self.set(attributes::ERROR_TYPE, kind);
    }

    /// `parent` as what happens within this span hands it on.
    pub(crate) fn within(&self, parent: &TraceContext) -> TraceContext {
        let Some(told) = &self.told else {
            return parent.clone();
        };
        let id = told.span.span_context.span_id();
        TraceContext {
            span_id: u64::from_be_bytes(id.to_bytes()),
            is_root: false,
            ..parent.clone()
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut told) = self.told.take() else {
            return;
        };
        told.span.end_time = SystemTime::now();
        let inner = &self.tracer.0;
        if let Some(exporter) = &inner.exporter
            && exporter.try_send(*told).is_err()
        {
            inner.dropped.inc();
        }
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
    fn spans_are_told_when_they_end_and_dropped_when_nobody_takes_them() {
        let dropped = IntCounter::new("dropped", "spans").expect("a counter");
        let (exporter, mut told) = mpsc::channel(2);
        let tracer = Tracer::new(1.0, dropped.clone(), exporter);
        let parent = tracer.begin();
        let span =
            |name: &'static str| tracer.span(&parent, Service::Gateway, SpanKind::Server, name);
        let mut outer = span("outer").expect("a span");
        outer.set(attributes::HTTP_METHOD, "GET");
        let inner_parent = outer.within(&parent);
        drop(tracer.span(&inner_parent, Service::Gateway, SpanKind::Internal, "inner"));
        let inner = told.try_recv().expect("told").span;
        drop(outer);
        let outer = told.try_recv().expect("told").span;
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
