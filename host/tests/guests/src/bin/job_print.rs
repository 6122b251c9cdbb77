//! A command that prints `args: [ARGUMENT, …]` without the program's name, then
//! `NAME=VALUE` for each variable of its environment, then `config NAME=VALUE` for each
//! entry of `wasi:config/store`, sorted, and succeeds.

use std::collections::BTreeMap;
use std::io::{self, Write};

use galleria_test_guests::platform::wasi::config::store;

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    writeln!(out, "args: {arguments:?}")?;
    for (name, value) in std::env::vars().collect::<BTreeMap<_, _>>() {
        writeln!(out, "{name}={value}")?;
    }
    let config = store::get_all().map_err(|error| io::Error::other(format!("{error:?}")))?;
    for (name, value) in config.into_iter().collect::<BTreeMap<_, _>>() {
        writeln!(out, "config {name}={value}")?;
    }
    Ok(())
}
