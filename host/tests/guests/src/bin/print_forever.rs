//! `/` prints short lines on standard output endlessly and never responds; `/line` prints
//! one line that never ends; `/ok` returns 200.

use std::io::Write;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let piece: &[u8] = match call.path().as_str() {
        "/ok" => return call.reply(200, "ok\n"),
        "/line" => &[b'x'; 1000],
        _ => b"one of many lines\n",
    };
    let mut out = std::io::stdout();
    while out.write_all(piece).is_ok() {}
    call.reply(500, "standard output ended\n");
}
