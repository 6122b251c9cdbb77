//! Returns the status in `?code=N` (200 by default) with `?body=N` bytes, and with the header
//! `content-length: N` for `?length=N`, whatever the method.

use std::io::Write;

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let number = |name| call.number(name);
    let code = number("code").and_then(|code| u16::try_from(code).ok());
    let bytes = number("body").and_then(|bytes| usize::try_from(bytes).ok());
    let length = number("length").map(|length| length.to_string());
    let headers: Vec<_> = length
        .iter()
        .map(|length| ("content-length", length.as_str()))
        .collect();
    let mut body = call.begin(code.unwrap_or(200), &headers);
    // The caller may not want it.
    let _ = body.write_all(&vec![b'x'; bytes.unwrap_or(0)]);
    body.finish(None);
}
