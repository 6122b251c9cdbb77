//! Prints `NAME=VALUE` for each variable of its environment during instantiation, then
//! `end`. It returns `ok`.

#[cfg(target_family = "wasm")]
use std::io::Write;

use galleria_test_guests::{Call, guest};

guest!(answer);

/// The component model calls a module's `_initialize` during instantiation.
#[cfg(target_family = "wasm")]
#[expect(unsafe_code, reason = "an export under a fixed name")]
#[unsafe(export_name = "_initialize")]
extern "C" fn initialize() {
    let mut out = std::io::stdout().lock();
    for (name, value) in std::env::vars() {
        let _ = writeln!(out, "{name}={value}");
    }
    let _ = writeln!(out, "end");
}

fn answer(call: Call) {
    call.reply(200, "ok\n");
}
