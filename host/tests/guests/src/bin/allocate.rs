//! Takes memory, and touches every page of it.
//!
//! `/allocate` goes on until it is refused, which ends it with a trap.
//! `?mib=N` stops at N MiB and answers 200 with `N MiB`; `&keep` holds on to
//! it as long as the instance lives. `/ok` takes nothing.

use std::hint::black_box;
use std::sync::Mutex;

use galleria_test_guests::{Call, guest};

guest!(answer);

const MIB: usize = 1024 * 1024;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn answer(call: Call) {
    if call.path() == "/ok" {
        return call.reply(200, "ok\n");
    }
    let limit = call.number("mib").unwrap_or(u64::MAX);
    let mut pieces = Vec::new();
    for _ in 0..limit {
        // Not zero: a zeroed allocation need not be touched.
        pieces.push(black_box(vec![1_u8; MIB]));
    }
    let taken = pieces.len();
    if call.parameter("keep").is_some() {
        KEPT.lock()
            .expect("guests have one thread")
            .append(&mut pieces);
    }
    call.reply(200, &format!("{taken} MiB\n"));
}
