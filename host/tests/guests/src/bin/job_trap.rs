//! A command that prints `about to trap` without a line feed, and traps.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    write!(out, "about to trap")?;
    out.flush()?;
    std::process::abort();
}
