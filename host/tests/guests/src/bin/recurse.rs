//! Calls itself over HTTP, at the URL in `SELF_URL`, endlessly, and returns the response
//! of the inner call. If the inner call fails, it returns 508 with the error code. `/ok`
//! makes no call.

use galleria_test_guests::{Call, get, guest};

guest!(answer);

fn answer(call: Call) {
    if call.path() == "/ok" {
        return call.reply(200, "ok\n");
    }
    let target = std::env::var("SELF_URL").unwrap_or_default();
    let target = match target.parse() {
        Ok(target) => target,
        Err(error) => return call.reply(500, &format!("SELF_URL={target}: {error}\n")),
    };
    match get(&target, &[]) {
        Ok(inner) => {
            let mut body = call.begin(inner.status, &[]);
            if let Ok(trailers) = body.copy_from(inner.body) {
                body.finish(trailers);
            }
        }
        Err(code) => call.reply(508, &format!("{code:?}\n")),
    }
}
