//! Keeps SQLite to the file that was opened: it would open whatever other file a
//! statement names, as the host.
//!
//! This reads no SQL. Keywords cannot be spelled in another way, so a statement
//! without these words reaches no other file; some that have them in a text are
//! refused too, and can give the text as a parameter.

use super::Error;

/// Words that are refused when all of a row are in a statement.
const REACHES: &[&[&str]] = &[
    &["attach"],
    &["vacuum", "into"],
    &["temp_store_directory"],
    &["data_store_directory"],
];

/// # Errors
/// `access-denied` for a statement that may reach another file.
pub(super) fn confine(statement: &str) -> Result<(), Error> {
    let has = |word: &&str| {
        let words = statement.split(|it: char| !it.is_ascii_alphanumeric() && it != '_');
        words.into_iter().any(|it| it.eq_ignore_ascii_case(word))
    };
    match REACHES.iter().find(|words| words.iter().all(has)) {
        Some(words) => Err(Error::AccessDenied(format!(
            "`{}` would reach another file; open that file by its own URL, and give texts as parameters",
            words.join(" … ").to_uppercase()
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_statement_reaches_another_file() {
        for text in [
            "attach '/etc/x.db' as x",
            "select 1; ATTACH database '/etc/x.db' as x",
            "\u{feff}attach'/etc/x.db'as x",
            "/* */ -- ;\n;;Attach/**/'/etc/x.db' as x",
            "select [;']; attach '/x' as x --'",
            "select 1\0; attach '/x' as x",
            "vacuum into '/tmp/copy.db'",
            "VACUUM main\nINTO '/tmp/copy.db'",
            "pragma \"temp_store_directory\" = '/tmp'",
        ] {
            assert!(
                matches!(confine(text), Err(Error::AccessDenied(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn other_statements_are_let_through() {
        for text in [
            "vacuum",
            "insert into attachment (attach_time) values (?1)",
            "pragma user_version",
            "",
        ] {
            assert!(confine(text).is_ok(), "{text}");
        }
    }
}
