//! Recurses until its stack is used up. `/ok` does not.

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let path = call.path();
    if path == "/ok" {
        return call.reply(200, "ok\n");
    }
    // A start that only the request knows keeps the compiler from working the
    // result out beforehand.
    let bottom = descend(path.len() as u64);
    call.reply(200, &format!("came back with {bottom}\n"));
}

/// Not a tail call, and its arithmetic is none that a compiler turns into a
/// loop.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX {
        depth
    } else {
        descend(depth + 1).rotate_left(3) ^ depth
    }
}
