//! A `wasi:cli/run@0.3` command that prints `hello from 0.3` and succeeds, or fails if it
//! has an argument.

use std::io::Write;

use galleria_test_guests::command_p3;

command_p3!(run);

async fn run() -> Result<(), ()> {
    writeln!(std::io::stdout(), "hello from 0.3").map_err(drop)?;
    match std::env::args().nth(1) {
        None => Ok(()),
        Some(_) => Err(()),
    }
}
