//! A span for each statement. It contains the kind of the statement and its table, but nothing
//! else of the text.

use opentelemetry::trace::SpanKind;

use super::Error;
use crate::context::RequestContext;
use crate::telemetry::trace::{Span, attributes};

/// Keywords in front of the name of a table.
const BEFORE_TABLE: [&str; 4] = ["FROM", "INTO", "UPDATE", "TABLE"];

/// Longer words are neither keywords nor names of tables.
const WORD_MAX: usize = 63;

/// Begins the span of `statement`, if its request is traced.
pub(super) fn begin(
    context: Option<&RequestContext>,
    system: &'static str,
    statement: &str,
) -> Option<Span> {
    let context = context.filter(|context| context.recording.is_some())?;
    let (operation, table) = summary(statement);
    let name = match &table {
        Some(table) => format!("{operation} {table}"),
        None => operation.clone(),
    };
    let mut span = context.span(SpanKind::Client, name.clone())?;
    span.set(attributes::DB_SYSTEM, system);
    span.set(attributes::DB_OPERATION, operation);
    span.set(attributes::DB_SUMMARY, name);
    if let Some(table) = table {
        span.set(attributes::DB_COLLECTION, table);
    }
    Some(span)
}

/// Records the result and ends the span.
pub(super) fn end<T>(span: Option<Span>, result: &Result<T, Error>) {
    if let (Some(mut span), Err(error)) = (span, result) {
        span.fail(name(error));
    }
}

/// For example `SELECT` and `products`. Anything but keywords and plain names is left out.
fn summary(statement: &str) -> (String, Option<String>) {
    // The table is near the beginning of all but unusual statements.
    let mut words = statement.split_whitespace().take(64).map(plain);
    let operation = words.next().filter(|word| !word.is_empty());
    let operation = operation.unwrap_or("SQL").to_ascii_uppercase();
    let mut before = operation.clone();
    for word in words {
        let upper = word.to_ascii_uppercase();
        let is_expected = BEFORE_TABLE.contains(&before.as_str());
        let is_keyword = matches!(upper.as_str(), "IF" | "NOT" | "EXISTS" | "ONLY" | "OR");
        if is_expected && !is_keyword {
            let table = Some(word.to_owned()).filter(|word| !word.is_empty());
            return (operation, table);
        }
        if !is_expected {
            before = upper;
        }
    }
    (operation, None)
}

/// The keyword or name at the beginning of a word. Empty if the word begins with something
/// else, such as a quote.
fn plain(word: &str) -> &str {
    let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '.');
    let end = word.find(|it: char| !is_part(it)).unwrap_or(word.len());
    let name = word.get(..end).unwrap_or_default();
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
    match is_name && name.len() <= WORD_MAX {
        true => name,
        false => "",
    }
}

/// `error.type`.
fn name(error: &Error) -> &'static str {
    match error {
        Error::AccessDenied(_) => "access-denied",
        Error::InvalidUrl(_) => "invalid-url",
        Error::Unavailable(_) => "unavailable",
        Error::InvalidStatement(_) => "invalid-statement",
        Error::ConstraintViolated(_) => "constraint-violated",
        Error::Busy(_) => "busy",
        Error::TooLarge(_) => "too-large",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_of_a_statement_does_not_contain_values() {
        let shown = |statement: &str| {
            let (operation, table) = summary(statement);
            format!("{operation} {}", table.unwrap_or_default())
        };
        assert_eq!(
            shown("select * from products where id = 'secret'"),
            "SELECT products"
        );
        assert_eq!(
            shown("INSERT INTO shop.reviews(text) VALUES ('x')"),
            "INSERT shop.reviews"
        );
        assert_eq!(shown("update products set name = ?"), "UPDATE products");
        assert_eq!(shown("CREATE TABLE IF NOT EXISTS a (b INT)"), "CREATE a");
        assert_eq!(shown("SELECT substring(a FROM 'secret')"), "SELECT ");
        assert_eq!(shown("PRAGMA user_version"), "PRAGMA ");
        assert_eq!(shown(""), "SQL ");
    }
}
