//! `?url=DATABASE&q=STATEMENT` runs one query over `galleria:sql` and answers
//! with `{"columns": […], "rows": [[…], …]}`; a blob is `{"blob": [bytes]}`.
//!
//! `&p=TEXT`, any number of times, gives its parameters. `/execute` answers
//! with `{"changed": N}` instead, and `/script` runs several statements in one
//! transaction. An error is 500 with `{"error": VARIANT, "message": TEXT}`,
//! the variant named as in the interface.

use galleria_test_guests::platform::galleria::sql::client::{Connection, Error, RowSet, Value};
use galleria_test_guests::{Call, guest};
use serde_json::{Value as Json, json};

guest!(answer);

fn answer(call: Call) {
    match run(&call) {
        Ok(document) => call.reply_json(200, &document),
        Err(error) => call.reply_json(500, &describe(&error)),
    }
}

fn run(call: &Call) -> Result<Json, Error> {
    let statement = call.parameter("q").unwrap_or_default();
    let parameters: Vec<Value> = call.parameters("p").into_iter().map(Value::Text).collect();
    let connection = Connection::open(&call.parameter("url").unwrap_or_default())?;
    match call.path().as_str() {
        "/execute" => connection
            .execute(&statement, &parameters)
            .map(|changed| json!({ "changed": changed })),
        "/script" => connection.execute_script(&statement).map(|()| json!({})),
        _ => connection.query(&statement, &parameters).map(table),
    }
}

fn table(rows: RowSet) -> Json {
    let cells = |row: Vec<Value>| row.into_iter().map(cell).collect::<Vec<_>>();
    json!({
        "columns": rows.columns,
        "rows": rows.rows.into_iter().map(cells).collect::<Vec<_>>(),
    })
}

fn cell(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(value) => value.into(),
        Value::Integer(value) => value.into(),
        Value::Real(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::Blob(value) => json!({ "blob": value }),
    }
}

fn describe(error: &Error) -> Json {
    let (variant, message) = match error {
        Error::AccessDenied(text) => ("access-denied", text),
        Error::InvalidUrl(text) => ("invalid-url", text),
        Error::Unavailable(text) => ("unavailable", text),
        Error::InvalidStatement(text) => ("invalid-statement", text),
        Error::ConstraintViolated(text) => ("constraint-violated", text),
        Error::Busy(text) => ("busy", text),
        Error::TooLarge(text) => ("too-large", text),
    };
    json!({ "error": variant, "message": message })
}
