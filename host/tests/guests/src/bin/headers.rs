//! Returns 200 with `?n=N` headers `x-I` whose values have `?length=B` bytes (by default
//! one header with one byte); with `&same` all of them are called `x-same`.

use galleria_test_guests::{Call, guest};

guest!(answer);

fn answer(call: Call) {
    let count = call.number("n").unwrap_or(1);
    let length = call.number("length").unwrap_or(1);
    let value = "v".repeat(usize::try_from(length).unwrap_or(1));
    let same = call.parameter("same").is_some();
    let names: Vec<String> = (0..count)
        .map(|number| match same {
            true => "x-same".to_owned(),
            false => format!("x-{number}"),
        })
        .collect();
    let headers: Vec<(&str, &str)> = names
        .iter()
        .map(|name| (name.as_str(), value.as_str()))
        .collect();
    call.reply_as(200, &headers, "ok\n");
}
