//! Traps on every request except `/ok` and `…/check/…`, which return 200, so that its
//! probes succeed.

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let path = call.path();
    if path == "/ok" || path.contains("/check/") {
        return call.reply(200, "ok\n");
    }
    std::process::abort();
}
