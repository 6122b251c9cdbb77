//! Returns 200, sends `?chunks=N` chunks of its body (3 by default), then traps. `/ok`
//! only returns 200.

use std::io::Write;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    if call.path() == "/ok" {
        return call.reply(200, "ok\n");
    }
    let chunks = call.number("chunks").unwrap_or(3);
    let mut body = call.begin(200, &[("content-type", "text/plain")]);
    for number in 1..=chunks {
        let sent = writeln!(body, "chunk {number}").and_then(|()| body.flush());
        if sent.is_err() {
            break;
        }
    }
    std::process::abort();
}
