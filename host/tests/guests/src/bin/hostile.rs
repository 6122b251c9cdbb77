//! Uses as many resources of the host as it can, and returns 200 with the amount, or
//! traps.
//!
//! `/fields?n=N` keeps N sets of headers of 100 KiB each; `/bodies?n=N` keeps N request
//! bodies, written as far as possible, of requests that are never sent;
//! `/calls?n=N&url=URL` makes N calls at once and returns `A answered, R refused`;
//! `/clocks?n=N` keeps N timers; `/poll?n=N` waits for a list of N times the same timer;
//! `/random?mib=N` requests N MiB of random bytes in one call; `/print?n=N` prints N
//! lines of 1 KiB, `/flood` prints endlessly; `/trap` traps. `/ok` uses nothing.

use std::hint::black_box;
use std::mem;

use galleria_test_guests::wasip2::clocks::monotonic_clock::subscribe_duration;
use galleria_test_guests::wasip2::http::outgoing_handler;
use galleria_test_guests::wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use galleria_test_guests::wasip2::io::poll::poll;
use galleria_test_guests::wasip2::random::random::get_random_bytes;
use galleria_test_guests::{Call, guest, url};

guest!(answer);

const VALUE_BYTES: usize = 10 * 1024;
const VALUES: usize = 10;
const HOUR_NANOSECONDS: u64 = 3_600_000_000_000;

fn answer(call: Call) {
    let count = call.number("n").unwrap_or(1);
    let text = match call.path().as_str() {
        "/fields" => fields(count),
        "/bodies" => bodies(count),
        "/calls" => calls(&call, count),
        "/clocks" => clocks(count),
        "/poll" => wait(count),
        "/random" => random(&call),
        "/print" => print(count),
        "/flood" => print(u64::MAX),
        "/trap" => std::process::abort(),
        _ => "ok\n".to_owned(),
    };
    call.reply(200, &text);
}

fn fields(count: u64) -> String {
    let value = vec![b'x'; VALUE_BYTES];
    for _ in 0..count {
        let fields = Fields::new();
        for _ in 0..VALUES {
            fields.append("x-large", &value).expect("within the limit");
        }
        mem::forget(fields);
    }
    format!("{count} sets\n")
}

fn bodies(count: u64) -> String {
    let mut written = 0;
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        let body = request.body().expect("a new request has its body");
        let stream = body.write().expect("a new body has its stream");
        loop {
            let size = stream.check_write().expect("it is open");
            if size == 0 {
                break;
            }
            let piece = vec![b'x'; usize::try_from(size).expect("it fits")];
            stream.write(&piece).expect("it is allowed");
            written += size;
        }
        mem::forget((stream, body, request));
    }
    format!("{written} bytes\n")
}

fn calls(call: &Call, count: u64) -> String {
    let target = match url(call, "url") {
        Ok(target) => target,
        Err(problem) => return problem,
    };
    let mut refused = 0;
    let mut under_way = Vec::new();
    for _ in 0..count {
        let request = OutgoingRequest::new(Fields::new());
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        request
            .set_scheme(Some(&Scheme::Http))
            .and_then(|()| request.set_authority(target.authority().map(|name| name.as_str())))
            .and_then(|()| request.set_path_with_query(Some(path)))
            .expect("a legal URL");
        match outgoing_handler::handle(request, None) {
            Ok(future) => under_way.push(future),
            Err(_) => refused += 1,
        }
    }
    let mut answered = 0;
    for future in under_way {
        future.subscribe().block();
        match future.get() {
            Some(Ok(Ok(_))) => answered += 1,
            _ => refused += 1,
        }
    }
    format!("{answered} answered, {refused} refused\n")
}

fn clocks(count: u64) -> String {
    for _ in 0..count {
        mem::forget(subscribe_duration(HOUR_NANOSECONDS));
    }
    format!("{count} timers\n")
}

fn wait(count: u64) -> String {
    let (late, soon) = (subscribe_duration(HOUR_NANOSECONDS), subscribe_duration(1));
    let mut list = vec![&late; usize::try_from(count).unwrap_or(usize::MAX)];
    list.push(&soon);
    format!("{} ready\n", poll(&list).len())
}

fn random(call: &Call) -> String {
    let bytes = call.number("mib").unwrap_or(1) << 20;
    let random = black_box(get_random_bytes(bytes));
    format!("{} bytes\n", random.len())
}

fn print(count: u64) -> String {
    let line = format!("{}\n", "x".repeat(1023));
    let mut out = std::io::stdout();
    for _ in 0..count {
        // The test is about output that the host does not accept.
        let _ = std::io::Write::write_all(&mut out, line.as_bytes());
    }
    format!("{count} lines\n")
}
