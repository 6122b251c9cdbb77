//! A WASI 0.3 guest. `/` returns `hello`; `/sleep?ms=N` responds after N milliseconds
//! without blocking other requests of the instance, `/spin?ms=N` after computing for as
//! long; `/count` returns the number of requests that this instance has served, including
//! the current one; `/leak?n=N` leaks N handles, `/streams?n=N` creates N streams and
//! drops one end after the other; `/trap` traps, which ends the other requests of the
//! instance too.

use std::hint::black_box;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use galleria_test_guests::wasip3::clocks::monotonic_clock;
use galleria_test_guests::wasip3::http::types::{ErrorCode, Fields, Request, Response};
use galleria_test_guests::wasip3::wit_stream;
use galleria_test_guests::{guest_p3, p3};

guest_p3!(answer);

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

static SERVED: AtomicU64 = AtomicU64::new(0);

async fn answer(request: Request) -> Result<Response, ErrorCode> {
    let served = SERVED.fetch_add(1, Relaxed) + 1;
    let text = match p3::path(&request).as_str() {
        "/count" => format!("{served}\n"),
        "/sleep" => sleep(&request).await,
        "/spin" => spin(&request),
        "/leak" => leak(&request),
        "/streams" => streams(&request).await,
        "/trap" => std::process::abort(),
        _ => "hello\n".to_owned(),
    };
    Ok(p3::text(200, text))
}

async fn sleep(request: &Request) -> String {
    let milliseconds = milliseconds(request);
    monotonic_clock::wait_for(milliseconds.saturating_mul(NANOSECONDS_PER_MILLISECOND)).await;
    format!("after {milliseconds} ms\n")
}

async fn streams(request: &Request) -> String {
    let pairs = p3::parameter(request, "n").and_then(|n| n.parse().ok());
    let pairs: u64 = pairs.unwrap_or(1);
    for pair in 0..pairs {
        let (mut sender, receiver) = wit_stream::new::<u8>();
        if pair % 2 == 0 {
            drop(receiver);
            sender.write_all(vec![0; 16]).await;
        }
    }
    format!("{pairs} streams\n")
}

fn leak(request: &Request) -> String {
    let handles = p3::parameter(request, "n").and_then(|n| n.parse().ok());
    for _ in 0..handles.unwrap_or(1) {
        mem::forget(Fields::new());
    }
    "leaked\n".to_owned()
}

fn spin(request: &Request) -> String {
    let length = Duration::from_millis(milliseconds(request));
    let (began, mut turns) = (Instant::now(), 0_u64);
    while began.elapsed() < length {
        for _ in 0..10_000 {
            turns = black_box(turns.wrapping_add(1));
        }
    }
    format!("{turns} turns\n")
}

fn milliseconds(request: &Request) -> u64 {
    let parameter = p3::parameter(request, "ms");
    parameter.and_then(|ms| ms.parse().ok()).unwrap_or(0)
}
