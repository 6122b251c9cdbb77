//! The host's log: readable on a terminal, JSON lines elsewhere, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging. `filter` is as in `RUST_LOG`: `info`, `galleria=debug`, …
///
/// # Errors
/// The filter cannot be understood.
pub(crate) fn start(filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let registry = tracing_subscriber::registry().with(filter);
    let terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second start (in tests) keeps the first subscriber.
    let _ = if terminal {
        registry.with(layer.with_ansi(true)).try_init()
    } else {
        registry.with(layer.json().flatten_event(true)).try_init()
    };
    Ok(())
}
