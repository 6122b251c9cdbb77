//! Allocates memory and touches every page of it.
//!
//! `/allocate` continues until an allocation fails, which traps. `?mib=N` stops at N MiB
//! and returns 200 with `N MiB`; `&keep` keeps the memory for as long as the instance
//! lives. `/ok` allocates nothing.

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
        // Not zero: zeroed memory need not be touched.
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
