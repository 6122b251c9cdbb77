//! A component that exports no HTTP at all: a plain command, which prints
//! `no http here` and ends.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    writeln!(io::stdout(), "no http here")
}
