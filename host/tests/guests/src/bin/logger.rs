//! Logs the path with `wasi:logging`, at every level, with the context `test`; then a
//! message of 100 kB at level `info`. Returns `ok`.

use galleria_test_guests::platform::wasi::logging::logging::{Level, log};
use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let path = call.path();
    for level in [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::Critical,
    ] {
        log(level, "test", &path);
    }
    log(Level::Info, &"c".repeat(100_000), &"m".repeat(100_000));
    call.reply(200, "ok\n");
}
