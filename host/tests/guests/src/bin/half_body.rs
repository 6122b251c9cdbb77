//! Announces a body of 2048 bytes, sends 1024 of them and then sleeps for an hour. `/ok`
//! returns 200 immediately.

use std::io::Write;
use std::thread;
use std::time::Duration;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    if call.path() == "/ok" {
        return call.reply(200, "ok\n");
    }
    let mut body = call.begin(
        200,
        &[("content-length", "2048"), ("content-type", "text/plain")],
    );
    if body
        .write_all(&[b'x'; 1024])
        .and_then(|()| body.flush())
        .is_ok()
    {
        thread::sleep(Duration::from_secs(60 * 60));
    }
}
