//! A command that prints `looping` and computes endlessly.

use std::hint::black_box;
use std::io::{self, Write};

fn main() -> io::Result<()> {
    writeln!(io::stdout(), "looping")?;
    let mut turns = 0_u64;
    while black_box(turns) != u64::MAX {
        turns = turns.wrapping_add(1);
    }
    Ok(())
}
