//! A WASI 0.3 guest that logs `begin PATH` with `wasi:logging`, waits for `?ms=N`
//! milliseconds, logs `end PATH`, prints `printed PATH`, and returns `ok`. Other requests
//! continue during the wait. `?db=URL` runs a statement on that database at the end.

use std::io::{self, Write};

use galleria_test_guests::platform::galleria::sql::client::Connection;
use galleria_test_guests::platform::wasi::logging::logging::{Level, log};
use galleria_test_guests::wasip3::clocks::monotonic_clock;
use galleria_test_guests::wasip3::http::types::{ErrorCode, Request, Response};
use galleria_test_guests::{guest_p3, p3};

guest_p3!(answer);

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    let path = p3::path(&request);
    let milliseconds: u64 = p3::parameter(&request, "ms")
        .and_then(|ms| ms.parse().ok())
        .unwrap_or(0);
    log(Level::Info, "", &format!("begin {path}"));
    monotonic_clock::wait_for(milliseconds.saturating_mul(1_000_000)).await;
    log(Level::Info, "", &format!("end {path}"));
    // The output is optional.
    let _ = writeln!(io::stdout(), "printed {path}");
    if let Some(url) = p3::parameter(&request, "db") {
        let answer =
            Connection::open(&url).and_then(|database| database.query("SELECT 1", &[]).map(|_| ()));
        if let Err(error) = answer {
            return Ok(p3::text(500, format!("{error:?}\n")));
        }
    }
    Ok(p3::text(200, "ok\n".to_owned()))
}
