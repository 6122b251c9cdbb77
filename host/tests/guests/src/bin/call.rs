//! `?url=URL` performs a GET of that URL and returns its body and trailers, and its
//! status in `x-upstream-status`.
//!
//! `&method=NAME` is another method, and `&header=NAME:VALUE`, any number of times, adds
//! request headers. If the request fails,
//! the response is 502 with the error code as text; if the URL is invalid, 400.

use galleria_test_guests::{Answer, Call, guest, send, url};

guest!(answer);

fn answer(call: Call) {
    let target = match url(&call, "url") {
        Ok(target) => target,
        Err(problem) => return call.reply(400, &problem),
    };
    let method = call.parameter("method");
    let method = method.as_deref().unwrap_or("GET");
    match send(method, &target, &headers(&call)) {
        Ok(upstream) => pass_on(call, upstream),
        Err(code) => call.reply(502, &format!("{code:?}\n")),
    }
}

fn headers(call: &Call) -> Vec<(String, String)> {
    let lines = call.parameters("header");
    let pair = |line: &String| {
        line.split_once(':')
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
    };
    lines.iter().filter_map(pair).collect()
}

fn pass_on(call: Call, upstream: Answer) {
    let status = upstream.status.to_string();
    let mut body = call.begin(200, &[("x-upstream-status", &status)]);
    if let Ok(trailers) = body.copy_from(upstream.body) {
        body.finish(trailers);
    }
}
