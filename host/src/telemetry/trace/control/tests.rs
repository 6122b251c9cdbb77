//! The layer, with a queue instead of a collector.

use prometheus::IntCounter;
use tokio::sync::mpsc;
use tracing::subscriber::with_default;
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::telemetry::trace::spans;

/// Runs `story` with the layer as the subscriber, and returns the spans that it
/// exports and the number of those that are dropped.
fn exported(ratio: f64, story: impl FnOnce(&dyn Fn())) -> (Vec<SpanData>, u64) {
    let dropped = IntCounter::new("dropped", "spans").expect("a counter");
    let (exporter, mut ended) = mpsc::channel(8);
    let tracer = Tracer::new(ratio, dropped.clone(), exporter);
    let (layer, traces) = layer();
    let subscriber = tracing_subscriber::registry().with(layer);
    with_default(subscriber, || story(&|| traces.export(&tracer)));
    let mut spans = Vec::new();
    while let Ok(EndedSpan { span, service }) = ended.try_recv() {
        assert!(matches!(service, Service::Gateway));
        spans.push(span);
    }
    (spans, dropped.get())
}

fn text(span: &SpanData, attribute: Attribute) -> String {
    let mut all = span.attributes.iter();
    let found = all.find(|it| it.key.as_str() == attribute.name);
    found.expect("the attribute").value.to_string()
}

#[test]
fn spans_are_disabled_until_they_are_exported() {
    let span = || control_span!(spans::RELOAD);
    let (spans, _) = exported(1.0, |export| {
        assert!(span().is_disabled());
        export();
        assert!(!span().is_disabled());
    });
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].name, "reload");
    assert_eq!(spans[0].instrumentation_scope.name(), "galleria");
}

#[test]
fn only_spans_with_the_target_are_exported() {
    let (spans, _) = exported(1.0, |export| {
        export();
        assert!(tracing::info_span!("other").is_disabled());
        assert!(!tracing::event_enabled!(target: CONTROL, tracing::Level::INFO));
        let reload = control_span!(spans::RELOAD);
        reload.in_scope(|| tracing::error!("an event"));
    });
    assert_eq!(spans.len(), 1);
    assert_eq!(
        (spans[0].events.len(), &spans[0].status),
        (0, &Status::Unset)
    );
}

#[test]
fn failures_and_attributes_are_exported_with_the_tree() {
    let (spans, _) = exported(1.0, |export| {
        export();
        let reload = control_span!(spans::RELOAD);
        reload.set(attributes::DRY_RUN, true);
        let plan = reload.in_scope(|| control_span!(spans::PLAN));
        plan.describe(attributes::IMAGE, format_args!("shop:{}", 1));
        plan.fail("InvalidPlan", "x".repeat(MESSAGE_MAX + 1));
    });
    let [plan, reload] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(plan.parent_span_id, reload.span_context.span_id());
    assert_eq!(text(plan, attributes::IMAGE), "shop:1");
    assert_eq!(text(plan, attributes::ERROR_TYPE), "InvalidPlan");
    assert_eq!(plan.status, Status::error("x".repeat(MESSAGE_MAX)));
    assert_eq!(text(reload, attributes::DRY_RUN), "true");
    assert_eq!(reload.status, Status::Unset);
}

#[test]
fn an_effect_is_below_its_cause_and_does_not_keep_it_open() {
    let (spans, _) = exported(1.0, |export| {
        export();
        let commit = control_span!(spans::COMMIT);
        let cause = commit.in_scope(Cause::current);
        let rollout = commit.in_scope(|| control_span!(after: cause, spans::ROLLOUT));
        drop(commit);
        drop(rollout);
        drop(control_span!(after: Cause::current(), spans::JOB));
    });
    // In the order in which they ended.
    let [commit, rollout, job] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(commit.name, "commit");
    assert_eq!(rollout.parent_span_id, commit.span_context.span_id());
    let trace = |span: &SpanData| span.span_context.trace_id();
    assert_eq!(trace(rollout), trace(commit));
    assert_ne!(trace(job), trace(commit));
    assert_eq!(job.parent_span_id, SpanId::INVALID);
}

#[test]
fn sampling_follows_the_ratio_and_the_trace_of_the_caller() {
    let caller = TraceContext::begin();
    let unsampled = TraceContext {
        flags: 0,
        ..caller.clone()
    };
    let write = |trace: &TraceContext| {
        let span = control_span!(spans::WRITE);
        span.continue_trace(trace);
        span.in_scope(|| drop(control_span!(spans::PLAN)));
    };
    let (spans, _) = exported(0.0, |export| {
        export();
        drop(control_span!(spans::RELOAD));
        write(&unsampled);
        write(&caller);
    });
    let [plan, write_span] = &spans[..] else {
        panic!("{spans:?}");
    };
    let id = TraceId::from(caller.trace_id);
    assert_eq!(write_span.span_context.trace_id(), id);
    assert_eq!(write_span.parent_span_id, SpanId::from(caller.span_id));
    assert_eq!(plan.parent_span_id, write_span.span_context.span_id());
    let (spans, _) = exported(1.0, |export| {
        export();
        write(&unsampled);
    });
    assert!(spans.is_empty(), "{spans:?}");
}

#[test]
fn spans_that_the_queue_has_no_room_for_are_counted() {
    let (spans, dropped) = exported(1.0, |export| {
        export();
        for _ in 0..10 {
            drop(control_span!(spans::RELOAD));
        }
    });
    assert_eq!((spans.len(), dropped), (8, 2));
}
