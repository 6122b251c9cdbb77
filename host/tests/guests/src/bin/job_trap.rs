//! A command that prints `about to trap`, without the line's end, and traps.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut out = io::stdout();
    write!(out, "about to trap")?;
    out.flush()?;
    std::process::abort();
}
