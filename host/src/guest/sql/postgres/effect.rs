//! What a statement does to its connection, by its first word.
//!
//! This reads no SQL: a statement that it does not know costs its connection,
//! which is closed after it.

use super::Error;

/// From where a statement comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `connection`: its connection goes to another user at once.
    Connection,
    Transaction,
}

/// What a connection is after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// As before: the statement reads and writes rows.
    None,
    /// It may have other settings, temporary tables, a cursor.
    Session,
}

/// The statements that leave nothing behind in their connection.
const READS_AND_WRITES: &[&str] = &[
    "select", "insert", "update", "delete", "merge", "with", "values", "table", "explain",
];

/// What ends a transaction, or begins one, behind the back of the interface.
const CONTROLS: &[&str] = &["begin", "start", "commit", "end", "abort"];

/// # Errors
/// `invalid-statement` for what the interface has functions for, and for what
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
/// `invalid-statement` for what the protocol cannot carry.
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
    fn rows_are_read_and_written_without_effect_on_the_connection() {
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
    fn transactions_are_begun_and_ended_through_the_interface_alone() {
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
