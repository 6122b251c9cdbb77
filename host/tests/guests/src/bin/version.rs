//! Returns the text in `VERSION`.
//!
//! With `FAIL_EVERY=N`, one response of N is 500, at random. With `SLOW_MS=N`, each takes
//! N milliseconds, asleep.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    if let Some(slow) = number("SLOW_MS") {
        std::thread::sleep(Duration::from_millis(slow));
    }
    let random = RandomState::new().hash_one(call.path());
    let fails = number("FAIL_EVERY").is_some_and(|every| random.is_multiple_of(every));
    let version = std::env::var("VERSION").unwrap_or_default();
    call.reply(if fails { 500 } else { 200 }, &version);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
