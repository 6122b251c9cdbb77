//! Text for the person at the terminal: standard output and standard error.

use std::io::{self, Write};

/// Prints a line to standard output.
///
/// A reader that has closed the pipe (`galleria status | head`) is not an error: the
/// rest of the output is dropped and the exit code stays that of the whole.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprint(&format!("error: cannot write to standard output: {error}"));
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints a line to standard error. A failure is ignored, because it cannot be reported.
pub(crate) fn eprint(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}
