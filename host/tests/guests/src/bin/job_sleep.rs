//! `MILLISECONDS`: a command that prints `sleeping`, sleeps, prints `awake` and succeeds.

use std::io::{self, Write};
use std::time::Duration;

fn main() -> io::Result<()> {
    let first = std::env::args().nth(1).unwrap_or_default();
    let millis: u64 = first.parse().map_err(io::Error::other)?;
    writeln!(io::stdout(), "sleeping")?;
    std::thread::sleep(Duration::from_millis(millis));
    writeln!(io::stdout(), "awake")
}
