//! Returns the request.
//!
//! `POST` and `PUT` return the body as it arrives, including trailers, with method and
//! target in `x-echo-method` and `x-echo-target`. Every other method returns JSON lines:
//! first `{"method", "target", "scheme", "authority"}`, then one `{"name", "value"}` per
//! header, in order.

use galleria_test_guests::{Call, guest};
use serde_json::json;

guest!(answer);

fn answer(call: Call) {
    let method = call.method();
    match method.as_str() {
        "POST" | "PUT" => stream_back(call, &method),
        _ => describe(call, &method),
    }
}

fn stream_back(call: Call, method: &str) {
    let target = call.path_with_query();
    let content_type = call
        .header("content-type")
        .unwrap_or_else(|| "application/octet-stream".into());
    let headers = [
        ("content-type", content_type.as_str()),
        ("x-echo-method", method),
        ("x-echo-target", &target),
    ];
    let (incoming, mut body) = call.begin_echo(200, &headers);
    // If the request body is aborted, the response body is aborted too.
    if let Ok(trailers) = body.copy_from(incoming) {
        body.finish(trailers);
    }
}

fn describe(call: Call, method: &str) {
    let mut lines = json!({
        "method": method,
        "target": call.path_with_query(),
        "scheme": call.scheme(),
        "authority": call.authority(),
    })
    .to_string();
    for (name, value) in call.headers() {
        lines.push('\n');
        lines.push_str(&json!({ "name": name, "value": value }).to_string());
    }
    lines.push('\n');
    call.reply_as(200, &[("content-type", "application/jsonl")], &lines);
}
