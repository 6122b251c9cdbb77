//! Writes to the service's log.

use std::io::Write;
use std::process::ExitCode;

/// Writes one line to standard error, which the platform collects. A failing log does not
/// fail a request.
pub fn log(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// The exit code of a job's program; logs the failure first.
pub(crate) fn exit_code<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(error);
            ExitCode::FAILURE
        }
    }
}
