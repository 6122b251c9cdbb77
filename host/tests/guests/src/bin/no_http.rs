//! A component without an HTTP export: a plain command that prints `no http here` and
//! exits.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    writeln!(io::stdout(), "no http here")
}
