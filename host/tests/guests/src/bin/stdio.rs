//! Prints `out: PATH` and `out: NAME=VALUE` on standard output and the same with `err:`
//! on standard error, then returns `ok`. `?env=NAME` selects the environment variable,
//! `STDIO_VALUE` by default.

use std::io::{self, Write};

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let name = call
        .parameter("env")
        .unwrap_or_else(|| "STDIO_VALUE".into());
    let value = std::env::var(&name).unwrap_or_default();
    let path = call.path();
    let printed = print(io::stdout(), "out", &path, &name, &value)
        .and_then(|()| print(io::stderr(), "err", &path, &name, &value));
    match printed {
        Ok(()) => call.reply(200, "ok\n"),
        Err(error) => call.reply(500, &format!("{error}\n")),
    }
}

fn print(mut to: impl Write, tag: &str, path: &str, name: &str, value: &str) -> io::Result<()> {
    writeln!(to, "{tag}: {path}")?;
    writeln!(to, "{tag}: {name}={value}")?;
    to.flush()
}
