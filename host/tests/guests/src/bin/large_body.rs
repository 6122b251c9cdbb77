//! Streams `?mib=N` MiB (one by default) in pieces of 64 KiB. Stops when the
//! caller goes away.

use std::io::Write;

use galleria_test_guests::{Call, guest};

guest!(answer);

const PIECES_PER_MIB: u64 = 16;

fn answer(call: Call) {
    let pieces = call
        .number("mib")
        .unwrap_or(1)
        .saturating_mul(PIECES_PER_MIB);
    let piece = vec![b'x'; 64 * 1024];
    let mut body = call.begin(200, &[("content-type", "application/octet-stream")]);
    for _ in 0..pieces {
        if body.write_all(&piece).is_err() {
            return;
        }
    }
    body.finish(None);
}
