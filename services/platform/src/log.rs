//! One line to the service's log.

use std::io::Write;

/// Writes one line to standard error, where the platform collects it. A log
/// that cannot be written is no reason to fail a request.
pub fn log(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}
