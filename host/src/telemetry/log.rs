//! The host's log on standard error: readable on a terminal, JSON lines elsewhere.
//!
//! Spans of the control side go to the trace exporter and do not appear in the log.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, ParseError, filter_fn};
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::trace::control::{self, ControlTraces};

/// Starts logging. `filter` is as in `RUST_LOG`: `info`, `galleria=debug`, …
///
/// # Errors
/// `filter` is invalid.
pub(crate) fn start(filter: &str) -> Result<ControlTraces, ParseError> {
    let filter = events(filter)?;
    let (control, traces) = control::layer();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let lines = match std::io::stderr().is_terminal() {
        true => lines.with_ansi(true).with_filter(filter).boxed(),
        false => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    // A second start (in tests) keeps the first subscriber.
    let _ = tracing_subscriber::registry()
        .with(lines)
        .with(control)
        .try_init();
    Ok(traces)
}

/// Events that `filter` selects, and no spans.
fn events(filter: &str) -> Result<impl Filter<Registry> + Send + Sync + 'static, ParseError> {
    // A filter without a hint would enable every level of every crate until its first use.
    let no_spans =
        filter_fn(|metadata| !metadata.is_span()).with_max_level_hint(LevelFilter::TRACE);
    Ok(EnvFilter::try_new(filter)?.and(no_spans))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_has_events_of_its_level_and_no_spans() {
        let filter = events("warn").expect("valid");
        assert_eq!(filter.max_level_hint(), Some(LevelFilter::WARN));
        let layer = tracing_subscriber::fmt::layer().with_filter(filter);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            assert!(tracing::event_enabled!(tracing::Level::WARN));
            assert!(!tracing::event_enabled!(tracing::Level::INFO));
            assert!(tracing::error_span!("span").is_disabled());
        });
        assert!(events("galleria=nonsense").is_err());
    }
}
