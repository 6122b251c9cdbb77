//! Recurses until its stack overflows. `/ok` does not.

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let path = call.path();
    if path == "/ok" {
        return call.reply(200, "ok\n");
    }
    // A depth that depends on the request, so that the compiler cannot compute the
    // result.
    let bottom = descend(path.len() as u64);
    call.reply(200, &format!("came back with {bottom}\n"));
}

/// Not a tail call, and its arithmetic cannot be turned into a loop by a compiler.
#[inline(never)]
fn descend(depth: u64) -> u64 {
    if depth == u64::MAX {
        depth
    } else {
        descend(depth + 1).rotate_left(3) ^ depth
    }
}
