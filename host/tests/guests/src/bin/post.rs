//! `?url=URL&bytes=N` sends N bytes (none by default) to that URL by POST, with a timeout
//! of 10 s, and returns the response; an error of the call or of writing its body is
//! returned as 502 with its text.
//!
//! `&times=N` does it N times (once by default), one after the other, and returns the
//! last body. `&late` writes the body only after the response has started.

use std::io::{Read, Write};

use galleria_test_guests::wasip2::http::outgoing_handler;
use galleria_test_guests::wasip2::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme,
};
use galleria_test_guests::{Call, guest, url};
use http::Uri;

guest!(answer);

const TIME_LIMIT_NANOSECONDS: u64 = 10_000_000_000;

fn answer(call: Call) {
    let times = call.number("times").unwrap_or(1);
    let mut last = Ok(String::new());
    for _ in 0..times {
        last = once(&call);
        if last.is_err() {
            break;
        }
    }
    match last {
        Ok(text) => call.reply(200, &text),
        Err(trouble) => call.reply(502, &format!("{trouble}\n")),
    }
}

fn once(call: &Call) -> Result<String, String> {
    let target = url(call, "url")?;
    let bytes = call.number("bytes").unwrap_or(0);
    let is_late = call.parameter("late").is_some();
    let request = request(&target)?;
    let body = request.body().map_err(|()| "no body")?;
    let options = RequestOptions::new();
    let _ = options.set_first_byte_timeout(Some(TIME_LIMIT_NANOSECONDS));
    let future = outgoing_handler::handle(request, Some(options)).map_err(text)?;
    if is_late {
        future.subscribe().block();
    }
    write(body, bytes)?;
    read(&response(&future)?)
}

fn request(target: &Uri) -> Result<OutgoingRequest, String> {
    let request = OutgoingRequest::new(Fields::new());
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let authority = target.authority().map(|authority| authority.as_str());
    request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&Scheme::Http)))
        .and_then(|()| request.set_authority(authority))
        .and_then(|()| request.set_path_with_query(Some(path)))
        .map_err(|()| "the URL was refused")?;
    Ok(request)
}

fn write(body: OutgoingBody, bytes: u64) -> Result<(), String> {
    let mut stream = body.write().map_err(|()| "no stream")?;
    let piece = [b'x'; 4096];
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let size = left.min(piece.len());
        let failed = |error| format!("writing, {left} bytes left: {error}");
        stream.write_all(&piece[..size]).map_err(failed)?;
        left -= size;
    }
    stream
        .flush()
        .map_err(|error| format!("flushing: {error}"))?;
    drop(stream);
    OutgoingBody::finish(body, None).map_err(|code| format!("finishing: {code:?}"))
}

fn response(future: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    future.subscribe().block();
    let response = future.get().ok_or("it is not ready")?;
    response.map_err(|()| "it was taken")?.map_err(text)
}

fn read(response: &IncomingResponse) -> Result<String, String> {
    let status = response.status();
    let body = response.consume().map_err(|()| "no body")?;
    let mut stream = body.stream().map_err(|()| "no stream")?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    drop(stream);
    drop(IncomingBody::finish(body));
    read.map_err(|error| format!("reading: {error}"))?;
    match status {
        200 => Ok(answer),
        _ => Err(format!("status {status}: {answer}")),
    }
}

fn text(code: impl std::fmt::Debug) -> String {
    format!("{code:?}")
}
