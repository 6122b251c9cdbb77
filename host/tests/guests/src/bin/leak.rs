//! Leaks `?n=N` resource handles (one by default) and returns 200 with `leaked N`.

use std::mem;

use galleria_test_guests::wasip2::http::types::Fields;
use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let handles = call.number("n").unwrap_or(1);
    for _ in 0..handles {
        mem::forget(Fields::new());
    }
    call.reply(200, &format!("leaked {handles}\n"));
}
