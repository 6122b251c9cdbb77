//! Traces of the control side: start, reloads, rollouts, image pulls, writes, Jobs.
//!
//! These are spans of `tracing`. There are few of them, so they may cost more than the
//! spans of requests ([`super::Span`]), and the request path has none. They have the
//! target [`CONTROL`], are exported by the same exporter as the host's own spans, and
//! are disabled callsites if nothing is exported.
//!
//! A span is made by [`control_span`], and gets its attributes and its failure by
//! [`ControlSpan`].

use std::fmt::Display;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId, TraceState,
    TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, Span as SdkSpan,
    SpanData, SpanProcessor,
};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context as LayerContext, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::attributes::{self, Attribute};
use super::{EndedSpan, Service, TraceContext, Tracer, scope};

/// The target of the control side's spans.
pub(crate) const CONTROL: &str = "galleria::control";

/// The longest message of a failure in a span, in characters: a change can have
/// thousands of problems, and all of them are in the log.
const MESSAGE_MAX: usize = 2_048;

/// A span with a name of `spans.rs`: below the current span, below `parent`, or
/// `after` a [`Cause`].
macro_rules! control_span {
    (parent: $parent:expr, $name:expr) => {
        tracing::info_span!(target: $crate::telemetry::trace::control::CONTROL, parent: $parent, $name)
    };
    (after: $cause:expr, $name:expr) => {
        $cause.precede($crate::telemetry::trace::control::control_span!(parent: None, $name))
    };
    ($name:expr) => {
        tracing::info_span!(target: $crate::telemetry::trace::control::CONTROL, $name)
    };
}
pub(crate) use control_span;

/// What call sites do with a span of the control side. Does nothing if the span is
/// disabled.
pub(crate) trait ControlSpan {
    fn set(&self, attribute: Attribute, value: impl Into<Value>);

    /// Sets an attribute to a text, which is not formatted for a disabled span.
    fn describe(&self, attribute: Attribute, text: impl Display);

    /// Marks the span as failed; `kind` is `error.type`. The message must not contain
    /// values of Secrets.
    fn fail(&self, kind: &str, message: impl Display);

    /// Makes it a span of the trace of a request, unless it has begun.
    fn continue_trace(&self, trace: &TraceContext);
}

impl ControlSpan for Span {
    fn set(&self, attribute: Attribute, value: impl Into<Value>) {
        self.set_attribute(attribute.name, value);
    }

    fn describe(&self, attribute: Attribute, text: impl Display) {
        if !self.is_disabled() {
            self.set_attribute(attribute.name, text.to_string());
        }
    }

    fn fail(&self, kind: &str, message: impl Display) {
        if self.is_disabled() {
            return;
        }
        let message: String = message.to_string().chars().take(MESSAGE_MAX).collect();
        self.set_status(Status::error(message));
        self.set_attribute(attributes::ERROR_TYPE.name, kind.to_owned());
    }

    fn continue_trace(&self, trace: &TraceContext) {
        set_parent(
            self,
            SpanContext::new(
                TraceId::from(trace.trace_id),
                SpanId::from(trace.span_id),
                TraceFlags::new(trace.flags),
                true,
                TraceState::default(),
            ),
        );
    }
}

/// The span that causes something longer than itself, such as a rollout. The effect's
/// span is below it in the trace, and does not keep it open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause(Option<SpanContext>);

impl Cause {
    /// The current span.
    pub(crate) fn current() -> Self {
        let span = Span::current();
        if span.is_disabled() {
            return Self::default();
        }
        let context = span.context().span().span_context().clone();
        Self(context.is_valid().then_some(context))
    }

    /// Puts `effect` below this span.
    pub(crate) fn precede(&self, effect: Span) -> Span {
        if let Some(context) = &self.0 {
            set_parent(&effect, context.clone());
        }
        effect
    }
}

fn set_parent(span: &Span, parent: SpanContext) {
    // Fails if the span is disabled.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// Switches the export on, once there is an exporter.
#[derive(Debug)]
pub(crate) struct ControlTraces(Export);

impl ControlTraces {
    /// Exports by way of `tracer`, and samples as it does.
    pub(crate) fn export(&self, tracer: &Tracer) {
        let ratio = Sampler::TraceIdRatioBased(tracer.0.ratio);
        let target = ExportTarget {
            tracer: tracer.clone(),
            sampler: Sampler::ParentBased(Box::new(ratio)),
        };
        if self.0.0.set(target).is_ok() {
            tracing::callsite::rebuild_interest_cache();
        }
    }
}

/// The layer of a subscriber that exports spans of the control side; none before
/// [`ControlTraces::export`].
pub(crate) fn layer<S>() -> (impl Layer<S>, ControlTraces)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let export = Export::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(export.clone())
        .with_span_processor(export.clone())
        .build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer_with_scope(scope()))
        .with_context_activation(false)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false);
    (layer.with_filter(export.clone()), ControlTraces(export))
}

/// Where spans go; nowhere until it is set. It filters and samples them, and passes
/// them to the exporter of the requests' spans.
#[derive(Debug, Clone, Default)]
struct Export(Arc<OnceLock<ExportTarget>>);

#[derive(Debug)]
struct ExportTarget {
    tracer: Tracer,
    sampler: Sampler,
}

impl Export {
    fn takes(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == CONTROL && self.0.get().is_some()
    }
}

impl<S> Filter<S> for Export {
    fn enabled(&self, metadata: &Metadata<'_>, _: &LayerContext<'_, S>) -> bool {
        self.takes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.takes(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    /// Without this hint every level of every crate would be enabled until its first use.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.0.get() {
            Some(_) => LevelFilter::INFO,
            None => LevelFilter::OFF,
        })
    }
}

impl ShouldSample for Export {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        match self.0.get() {
            Some(target) => target
                .sampler
                .should_sample(parent, trace, name, kind, attributes, links),
            None => SamplingResult {
                decision: SamplingDecision::Drop,
                attributes: Vec::new(),
                trace_state: TraceState::default(),
            },
        }
    }
}

impl SpanProcessor for Export {
    fn on_start(&self, _span: &mut SdkSpan, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if let Some(target) = self.0.get() {
            let service = Service::Gateway;
            target.tracer.export(EndedSpan { service, span });
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn set_resource(&mut self, _resource: &Resource) {}
}

#[cfg(test)]
mod tests;
