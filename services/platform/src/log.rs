//! One line to the service's log.

use std::io::Write;
use std::process::ExitCode;

/// Writes one line to standard error, where the platform collects it. A log
/// that cannot be written is no reason to fail a request.
pub fn log(message: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{message}");
}

/// What a job's program ends with; a failure is told before.
pub(crate) fn exit_code<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(error);
            ExitCode::FAILURE
        }
    }
}
