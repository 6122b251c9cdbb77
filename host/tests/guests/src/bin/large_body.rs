//! Streams `?mib=N` MiB (one by default) or `?kib=N` KiB, in chunks of 64 KiB. Stops when
//! the caller disconnects.

use std::io::Write;

use galleria_test_guests::{Call, guest};

guest!(answer);

const PIECE: usize = 64 << 10;

fn answer(call: Call) {
    let size = match (call.number("kib"), call.number("mib")) {
        (Some(kib), _) => kib << 10,
        (None, mib) => mib.unwrap_or(1) << 20,
    };
    let mut left = usize::try_from(size).unwrap_or(usize::MAX);
    let piece = vec![b'x'; PIECE];
    let mut body = call.begin(200, &[("content-type", "application/octet-stream")]);
    while left > 0 {
        let length = left.min(PIECE);
        if body.write_all(&piece[..length]).is_err() {
            return;
        }
        left -= length;
    }
    body.finish(None);
}
