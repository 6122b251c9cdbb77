//! Returns 200 after sleeping for `?ms=N` milliseconds (1000 by default).

use std::thread;
use std::time::Duration;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let delay = Duration::from_millis(call.number("ms").unwrap_or(1000));
    thread::sleep(delay);
    call.reply(200, &format!("after {} ms\n", delay.as_millis()));
}
