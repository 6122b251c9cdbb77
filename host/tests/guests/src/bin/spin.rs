//! `/spin?ms=N` computes for N milliseconds of wall time and returns the number of
//! iterations; every other path returns `ok` immediately.

use std::hint::black_box;
use std::time::{Duration, Instant};

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    if call.path() != "/spin" {
        return call.reply(200, "ok\n");
    }
    let length = Duration::from_millis(call.number("ms").unwrap_or(0));
    let began = Instant::now();
    let mut turns = 0_u64;
    while began.elapsed() < length {
        for _ in 0..10_000 {
            turns = black_box(turns.wrapping_add(1));
        }
    }
    call.reply(200, &format!("{turns} turns\n"));
}
