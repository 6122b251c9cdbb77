//! Returns the status in `?code=N` (200 by default).
//!
//! With the header `x-fail-n: N`, only the first N of such requests to this instance get
//! that code (503 by default) and every later one gets 200. `/counter` returns the number
//! of requests that this instance has served, including the current one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use galleria_test_guests::{Call, guest};

guest!(answer);

static SERVED: AtomicU64 = AtomicU64::new(0);
static ASKED_TO_FAIL: AtomicU64 = AtomicU64::new(0);

fn answer(call: Call) {
    let served = SERVED.fetch_add(1, Relaxed) + 1;
    if call.path() == "/counter" {
        return call.reply(200, &format!("{served}\n"));
    }
    let code = call
        .number("code")
        .and_then(|code| u16::try_from(code).ok());
    let status = match failures_wanted(&call) {
        None => code.unwrap_or(200),
        Some(wanted) if ASKED_TO_FAIL.fetch_add(1, Relaxed) < wanted => code.unwrap_or(503),
        Some(_) => 200,
    };
    call.reply(status, &format!("{status}\n"));
}

fn failures_wanted(call: &Call) -> Option<u64> {
    call.header("x-fail-n")?.trim().parse().ok()
}
