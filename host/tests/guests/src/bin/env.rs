//! Returns its environment as JSON `{name: value}`.
//!
//! `?config=KEY` returns the value from `wasi:config/store` instead: `{"value": "…"}`,
//! `{"value": null}` for an unknown key, or 500 with `{"error": "…"}`. `?config` without
//! a key returns the whole store.

use galleria_test_guests::platform::wasi::config::store;
use galleria_test_guests::{Call, guest};
use serde_json::{Map, Value, json};

guest!(answer);

fn answer(call: Call) {
    match call.parameter("config").as_deref() {
        None => call.reply_json(200, &object(std::env::vars())),
        Some("") => reply_config(call, store::get_all().map(object)),
        Some(key) => {
            reply_config(call, store::get(key).map(|value| json!({ "value": value })));
        }
    }
}

fn reply_config(call: Call, result: Result<Value, store::Error>) {
    match result {
        Ok(document) => call.reply_json(200, &document),
        Err(error) => call.reply_json(500, &json!({ "error": format!("{error:?}") })),
    }
}

fn object(pairs: impl IntoIterator<Item = (String, String)>) -> Value {
    let entries = pairs
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)));
    Value::Object(entries.collect::<Map<_, _>>())
}
