//! The effect of a statement on its connection, judged by its first word.
//!
//! SQL is not parsed: after a statement with an unknown first word, the connection is closed.

use super::Error;

/// The resource that a statement is executed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `connection`: the connection is passed to another user immediately afterwards.
    Connection,
    Transaction,
}

/// The state of a connection after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// Unchanged: the statement reads and writes rows.
    None,
    /// It may have different settings, temporary tables or a cursor.
    Session,
}

/// Statements that leave no state in their connection.
const READS_AND_WRITES: &[&str] = &[
    "select", "insert", "update", "delete", "merge", "with", "values", "table", "explain",
];

/// Statements that begin or end a transaction, bypassing the interface.
const CONTROLS: &[&str] = &["begin", "start", "commit", "end", "abort"];

/// # Errors
/// `invalid-statement` for statements that the interface has functions for, and for text that
/// the protocol cannot carry.
pub(super) fn effect(statement: &str, place: Place) -> Result<Effect, Error> {
    carry(statement)?;
    let start = statement
        .trim_start_matches(|character: char| character.is_ascii_whitespace() || character == '(');
    let end = start.find(|character: char| !character.is_ascii_alphabetic());
    let word = start.get(..end.unwrap_or(start.len())).unwrap_or_default();
    let word = word.to_ascii_lowercase();
    let controls = CONTROLS.contains(&word.as_str())
        || word == "rollback" && !to_savepoint(statement, place)
        || place == Place::Connection && ["savepoint", "release"].contains(&word.as_str());
    if controls {
        return Err(Error::InvalidStatement(format!(
            "`{word}` is not allowed as a statement; use `begin`, `commit` and `rollback` of the interface"
        )));
    }
    let harmless = READS_AND_WRITES.contains(&word.as_str())
        || ["savepoint", "release", "rollback"].contains(&word.as_str());
    Ok(match harmless {
        true => Effect::None,
        false => Effect::Session,
    })
}

/// # Errors
/// `invalid-statement` for text that the protocol cannot carry.
pub(super) fn carry(text: &str) -> Result<(), Error> {
    match text.contains('\0') {
        true => Err(Error::InvalidStatement(
            "a statement must not contain NUL characters".into(),
        )),
        false => Ok(()),
    }
}

fn to_savepoint(statement: &str, place: Place) -> bool {
    let words = statement.split_ascii_whitespace();
    place == Place::Transaction
        && words
            .skip(1)
            .take(2)
            .any(|word| word.eq_ignore_ascii_case("to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_writing_rows_has_no_effect_on_the_connection() {
        for text in [
            "select 1",
            "\n  (SELECT 1) union select 2",
            "Insert into t values ($1)",
            "with n as (select 1) select * from n",
        ] {
            assert_eq!(
                effect(text, Place::Connection).ok(),
                Some(Effect::None),
                "{text}"
            );
        }
        for text in [
            "set search_path to x",
            "create temp table t (a int)",
            "/* why */ select 1",
            "",
        ] {
            assert_eq!(
                effect(text, Place::Connection).ok(),
                Some(Effect::Session),
                "{text}"
            );
        }
    }

    #[test]
    fn transactions_begin_and_end_only_through_the_interface() {
        for text in [
            "BEGIN",
            " start transaction",
            "savepoint a",
            "rollback",
            "end",
            "COMMIT;",
        ] {
            assert!(effect(text, Place::Connection).is_err(), "{text}");
        }
        for text in [
            "savepoint a",
            "rollback to savepoint a",
            "ROLLBACK WORK TO a",
            "release a",
        ] {
            assert_eq!(
                effect(text, Place::Transaction).ok(),
                Some(Effect::None),
                "{text}"
            );
        }
        for text in ["rollback", "commit", "begin", "select '\0'"] {
            assert!(effect(text, Place::Transaction).is_err(), "{text}");
        }
    }
}
