//! Explanations of the YAML parser's syntax errors.
//!
//! They never contain a part of the text, which may be that of a Secret.

/// The problem, and its usual fix.
pub(super) fn explain(info: &str) -> String {
    let advice = ADVICE
        .iter()
        .find(|(part, _)| info.contains(part))
        .map(|(_, advice)| *advice);
    match advice {
        Some(advice) => advice.to_owned(),
        None => format!("not valid YAML: {info}"),
    }
}

const ADVICE: &[(&str, &str)] = &[
    (
        "tab",
        "YAML does not allow tabs for indentation; indent with spaces",
    ),
    (
        "indentation in quoted scalar",
        "a quoted string is not closed, or its next line is not indented",
    ),
    (
        "unexpected end of stream",
        "a quoted string is not closed at the end of the file; close its quote",
    ),
    (
        "unexpected document indicator",
        "a quoted string is not closed at the end of the document; close its quote",
    ),
    (
        "mapping values are not allowed",
        "`:` is not allowed here; a string that contains `: ` needs quotes, or the indentation is wrong",
    ),
    (
        "simple key expect",
        "a key without `:`; write `key: value`, or check the indentation",
    ),
    (
        "did not find expected key",
        "the indentation does not match the previous lines; keys of one mapping begin in one column",
    ),
    (
        "did not find expected '-' indicator",
        "the indentation does not match the previous list entries; each entry begins with `- ` in one column",
    ),
    (
        "block sequence entries are not allowed",
        "a list entry (`- `) is not allowed here; put the list on its own lines below the key",
    ),
    (
        "unknown escape",
        "an unknown escape in a double-quoted string; write `\\\\` for a backslash, or use single quotes",
    ),
    (
        "hexadecimal",
        "a broken \\x, \\u or \\U escape in a double-quoted string",
    ),
    (
        "Unicode character escape",
        "a \\u escape that is not a Unicode character",
    ),
    (
        "unexpected character",
        "a value cannot begin with this character; put the value in quotes",
    ),
    (
        "unknown anchor",
        "the alias refers to an anchor that is not defined before it in this document",
    ),
    (
        "expected ',' or '}'",
        "a `{` is not closed, or a comma is missing",
    ),
    (
        "expected ',' or ']'",
        "a `[` is not closed, or a comma is missing",
    ),
    (
        "misplaced bracket",
        "a closing bracket without its opening one",
    ),
    ("recursion limit", "brackets are nested too deeply"),
    (
        "unprintable",
        "a control character that YAML does not allow; escape it in double quotes",
    ),
    (
        "byte order mark",
        "a byte order mark inside the text; remove it",
    ),
    ("expected whitespace", "a space is missing here"),
    (
        "followed by a valid YAML whitespace",
        "a space is missing after `:` or `-`",
    ),
    (
        "trailing content",
        "text follows a closing quote; put all of the value in the quotes",
    ),
    (
        "invalid indentation",
        "the indentation does not match the previous lines",
    ),
    (
        "wrongly indented",
        "the indentation does not match the previous lines",
    ),
    (
        "<document start>",
        "text after the end of the document; begin another with `---`, or check the indentation",
    ),
];
