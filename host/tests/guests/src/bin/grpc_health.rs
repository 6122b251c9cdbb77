//! Implements `grpc.health.v1.Health/Check`, with status and trailers as over HTTP/2:
//! SERVING, or NOT_SERVING for the service `down`, or grpc-status 5 (not found) for the
//! service `unknown`. Every other request gets 200 with `ok`.

use std::io::Write;

use galleria_test_guests::wasip2::http::types::{Fields, IncomingBody};
use galleria_test_guests::{Call, guest};

guest!(answer);

const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

fn answer(call: Call) {
    if call.path() != "/grpc.health.v1.Health/Check" {
        return call.reply(200, "ok\n");
    }
    let (request, mut body) = call.begin_echo(200, &[("content-type", "application/grpc")]);
    let service = read(&request).split_off(5);
    let status = match service.as_slice() {
        // Field 1, four bytes.
        b"\x0a\x04down" => Some(NOT_SERVING),
        b"\x0a\x07unknown" => None,
        _ => Some(SERVING),
    };
    let code: &[u8] = match status {
        Some(status) => {
            // The prober may have disconnected.
            let _ = body.write_all(&[0, 0, 0, 0, 2, 8, status]);
            b"0"
        }
        None => b"5",
    };
    let trailers = Fields::new();
    trailers
        .append("grpc-status", code)
        .expect("a legal trailer");
    body.finish(Some(trailers));
}

fn read(request: &IncomingBody) -> Vec<u8> {
    let stream = request.stream().expect("a new body has its stream");
    let mut bytes = Vec::new();
    while let Ok(piece) = stream.blocking_read(1024) {
        bytes.extend(piece);
    }
    bytes
}
