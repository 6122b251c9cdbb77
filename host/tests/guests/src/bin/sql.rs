//! `?url=DATABASE&q=STATEMENT` runs one query over `galleria:sql` and returns
//! `{"columns": […], "rows": [[…], …]}`; a blob is `{"blob": [bytes]}`.
//!
//! `&p=TEXT`, any number of times, adds parameters. `/execute` returns `{"changed": N}`
//! instead, and `/script` runs several statements in one transaction. `/commit` executes
//! within a transaction and commits, even if the statement failed; `/drop` does not
//! commit. `/kinds` has a parameter of every kind: null, true, the smallest integer, 0.1,
//! `käse`, the bytes 0 and 255. `/trap` traps within a transaction, and `/hold` keeps it
//! open for as long as the instance lives. `/open?count=N` opens the files URL-0 to URL-N
//! and returns how many could be opened and the last error. An error is 500 with
//! `{"error": VARIANT, "message": TEXT}`, with the variant named as in the interface.

use galleria_test_guests::platform::galleria::sql::client::{
    Connection, Error, RowSet, Transaction, Value,
};
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
    if call.path() == "/open" {
        return Ok(open_many(call));
    }
    let connection = Connection::open(&call.parameter("url").unwrap_or_default())?;
    match call.path().as_str() {
        "/execute" => connection
            .execute(&statement, &parameters)
            .map(|changed| json!({ "changed": changed })),
        "/commit" => {
            let transaction = connection.begin()?;
            let _ = transaction.execute(&statement, &parameters);
            Transaction::commit(transaction).map(|()| json!({}))
        }
        "/drop" => {
            let transaction = connection.begin()?;
            let changed = transaction.execute(&statement, &parameters)?;
            Ok(json!({ "changed": changed }))
        }
        "/trap" => {
            let transaction = connection.begin()?;
            transaction.execute(&statement, &parameters)?;
            std::process::abort()
        }
        "/hold" => {
            let transaction = connection.begin()?;
            transaction.execute(&statement, &parameters)?;
            std::mem::forget(transaction);
            Ok(json!({}))
        }
        "/kinds" => connection.query(&statement, &kinds()).map(table),
        "/script" => connection.execute_script(&statement).map(|()| json!({})),
        _ => connection.query(&statement, &parameters).map(table),
    }
}

fn open_many(call: &Call) -> Json {
    let url = call.parameter("url").unwrap_or_default();
    let count = call.parameter("count").and_then(|count| count.parse().ok());
    let mut open = Vec::new();
    let mut last = Json::Null;
    for number in 0..count.unwrap_or(0) {
        match Connection::open(&format!("{url}-{number}")) {
            Ok(connection) => open.push(connection),
            Err(error) => last = describe(&error),
        }
    }
    json!({ "open": open.len(), "last": last })
}

fn kinds() -> [Value; 6] {
    [
        Value::Null,
        Value::Boolean(true),
        Value::Integer(i64::MIN),
        Value::Real(0.1),
        Value::Text("käse".to_owned()),
        Value::Blob(vec![0, 255]),
    ]
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
