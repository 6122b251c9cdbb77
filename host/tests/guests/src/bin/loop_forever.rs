//! Computes endlessly on every path except `/ok`.

use std::hint::black_box;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let mut turns = 0_u64;
    while call.path() != "/ok" {
        spin(&mut turns);
    }
    call.reply(200, "ok\n");
}

/// A loop without calls of the host: only the engine can interrupt it.
fn spin(turns: &mut u64) {
    while black_box(*turns) != u64::MAX {
        *turns = turns.wrapping_add(1);
    }
}
