//! `/` prints short lines on standard output without end and never answers;
//! `/line` prints one line that never ends; `/ok` answers 200.

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
