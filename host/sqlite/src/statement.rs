//! Prepares statements, binds parameters and reads rows.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Batch, Connection, Row, Statement};

use crate::Error;
use crate::limits::STATEMENT_BYTES_MAX;

/// A longer statement is not cached: it was generated and will not be repeated.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// The result of a query: every row has one value per column.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
    /// Rows that the statement inserted, changed or deleted.
    pub changed: u64,
}

/// How much of a result is accepted; nothing if both are zero.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnswerLimits {
    pub rows: usize,
    pub bytes: usize,
}

/// Whether a statement looks like one that only reads. False does not mean that it
/// writes.
pub fn reads(statement: &str) -> bool {
    let word = statement
        .trim_start()
        .split(|it: char| !it.is_ascii_alphabetic());
    let word = word.into_iter().next().unwrap_or_default();
    ["select", "with", "values", "pragma", "explain"]
        .iter()
        .any(|it| word.eq_ignore_ascii_case(it))
}

/// Runs one statement. `answer` is `None` if its rows are not needed.
pub(crate) fn run(
    connection: &Connection,
    text: &str,
    parameters: &[Value],
    answer: Option<AnswerLimits>,
    only_reads: bool,
) -> Result<Rows, Error> {
    check_length(text)?;
    let text = text.trim_end_matches(|it: char| it == ';' || it.is_ascii_whitespace());
    // Only statements of the host are kept with a semicolon in their text.
    if text.len() <= KEPT_BYTES_MAX && !text.contains(';') {
        let mut statement = connection.prepare_cached(text).map_err(no_statement)?;
        return run_prepared(connection, &mut statement, parameters, answer, only_reads);
    }
    // Statement by statement: `prepare` checks what follows the first statement by
    // preparing it, and so on, recursively on the stack.
    let mut statements = Batch::new(connection, text);
    let mut first = statements
        .next()?
        .ok_or_else(|| no_statement(rusqlite::Error::Empty))?;
    if statements.next()?.is_some() {
        return Err(rusqlite::Error::MultipleStatement.into());
    }
    run_prepared(connection, &mut first, parameters, answer, only_reads)
}

/// Runs every statement of a script and ignores their rows.
pub(crate) fn run_script(connection: &Connection, script: &str) -> Result<(), Error> {
    check_length(script)?;
    let mut statements = Batch::new(connection, script);
    while let Some(mut statement) = statements.next()? {
        let mut rows = statement.raw_query();
        while rows.next()?.is_some() {}
    }
    Ok(())
}

fn check_length(text: &str) -> Result<(), Error> {
    let most = usize::try_from(STATEMENT_BYTES_MAX).unwrap_or_default();
    if text.len() <= most {
        return Ok(());
    }
    Err(Error::InvalidStatement(format!(
        "the statement has {} bytes, more than the limit of {most}; pass data as parameters",
        text.len()
    )))
}

fn no_statement(error: rusqlite::Error) -> Error {
    match error {
        rusqlite::Error::Empty => Error::InvalidStatement("there is no statement".into()),
        error => error.into(),
    }
}

fn run_prepared(
    connection: &Connection,
    statement: &mut Statement<'_>,
    parameters: &[Value],
    answer: Option<AnswerLimits>,
    only_reads: bool,
) -> Result<Rows, Error> {
    let writes = !statement.readonly();
    if writes && only_reads {
        return Err(Error::Writes);
    }
    bind(statement, parameters)?;
    let before = writes.then(|| connection.total_changes());
    let mut answer = answer.map(Answer::new);
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if let Some(answer) = &mut answer {
            answer.push(row)?;
        }
    }
    drop(rows);
    let mut rows = answer.map_or_else(Rows::default, |answer| answer.finish(statement));
    // A statement that changes nothing leaves the count of the previous one.
    if before.is_some_and(|before| connection.total_changes() != before) {
        rows.changed = connection.changes();
    }
    Ok(rows)
}

/// `$1` and `?1` are the first parameter wherever they occur; each `?` is the next one.
/// Missing parameters are NULL, as all are before: a statement is kept without its values.
fn bind(statement: &mut Statement<'_>, parameters: &[Value]) -> Result<(), Error> {
    let mut next = 0;
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            None => {
                next += 1;
                next
            }
            Some(name) => name
                .strip_prefix(['?', '$'])
                .and_then(|number| number.parse().ok())
                .filter(|number| *number > 0)
                .ok_or_else(|| {
                    Error::InvalidStatement(
                        "the parameters of a statement are `$1`, `$2`, … or `?1`, `?2`, …".into(),
                    )
                })?,
        };
        if let Some(value) = parameters.get(number - 1_usize) {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    Ok(())
}

struct Answer {
    rows: Rows,
    limits: AnswerLimits,
    bytes: usize,
}

impl Answer {
    fn new(limits: AnswerLimits) -> Self {
        Self {
            rows: Rows::default(),
            limits,
            bytes: 0,
        }
    }

    /// Called after the first step: a step prepares the statement again if the schema has
    /// changed, and then it may have other columns.
    fn name_columns(&mut self, statement: &Statement<'_>) {
        if self.rows.columns.is_empty() {
            self.rows.columns = statement.column_names().map(str::to_owned).collect();
        }
    }

    fn push(&mut self, row: &Row<'_>) -> Result<(), Error> {
        if self.rows.rows.len() >= self.limits.rows {
            return Err(self.too_large());
        }
        self.name_columns(row.as_ref());
        let columns = self.rows.columns.len();
        let mut values = Vec::with_capacity(columns);
        for index in 0..columns {
            let value = row.get_ref(index)?;
            self.bytes += size(value);
            // Checked before copying: a row can have hundreds of large values.
            if self.bytes > self.limits.bytes {
                return Err(self.too_large());
            }
            values.push(owned(value)?);
        }
        self.rows.rows.push(values);
        Ok(())
    }

    fn finish(mut self, statement: &Statement<'_>) -> Rows {
        self.name_columns(statement);
        self.rows
    }

    fn too_large(&self) -> Error {
        let AnswerLimits { rows, bytes } = self.limits;
        Error::TooLarge(format!(
            "the answer has more than {rows} rows or {bytes} bytes; select less, or page with `limit`"
        ))
    }
}

fn size(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null => 1,
        ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn owned(value: ValueRef<'_>) -> Result<Value, Error> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => {
                let message = "a text of the answer is not UTF-8; select it `cast(… as blob)`";
                return Err(Error::InvalidStatement(message.into()));
            }
        },
    })
}
