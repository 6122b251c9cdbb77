//! A command that prints `ending with CODE` on standard error and exits with the code in
//! its last argument.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let last = std::env::args().next_back().unwrap_or_default();
    let code: u8 = last.parse().map_err(io::Error::other)?;
    writeln!(io::stderr(), "ending with {code}")?;
    exit(code);
    Ok(())
}

#[cfg(target_family = "wasm")]
fn exit(code: u8) {
    wasip2::cli::exit::exit_with_code(code);
}

#[cfg(not(target_family = "wasm"))]
fn exit(code: u8) {
    std::process::exit(code.into());
}
