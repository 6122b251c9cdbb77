//! `URL`: a command that performs a GET of that URL, prints `status CODE`, and succeeds
//! if the code is 200. If the request fails, it prints the error code.

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let url = std::env::args().nth(1).unwrap_or_default();
    let url = url.parse().map_err(io::Error::other)?;
    let mut out = io::stdout();
    match galleria_test_guests::get(&url, &[]) {
        Ok(answer) => {
            writeln!(out, "status {}", answer.status)?;
            Ok(ExitCode::from(u8::from(answer.status != 200)))
        }
        Err(code) => {
            writeln!(out, "{code:?}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
