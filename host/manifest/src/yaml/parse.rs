//! Parses a text to the trees of its documents.
//!
//! A malformed document does not hide the others: after a syntax error the parser continues
//! at the next `---`, so that all errors of a file are reported at once.

use std::borrow::Cow;

use super::build::Builder;
use super::lines::{lines, trim_break};
use super::{Mark, Node, Problem};
use crate::codes;
use crate::limits::SYNTAX_ERRORS_PER_FILE_MAX;

/// The documents of a text without the empty ones, and its problems.
#[derive(Debug, Default)]
pub(crate) struct ParsedFile {
    pub(crate) documents: Vec<Node>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads every document of `text`.
pub(crate) fn parse(text: &str) -> ParsedFile {
    let mut parsed = ParsedFile::default();
    if let Some(problem) = control_character(text) {
        parsed.problems.push(problem);
        return parsed;
    }
    let mut builder = Builder::new(Mark::after(trim_break(text)));
    let joined = joined_surrogates(text);
    let mut rest = &*joined;
    let mut first_line = 0;
    let mut syntax_errors = 0;
    while let Err(failure) = builder.read(rest, first_line, &mut parsed) {
        let relative_line = (failure.mark.line - first_line) as usize;
        parsed.problems.push(failure);
        builder.reset();
        syntax_errors += 1;
        if builder.nodes_left == 0 || syntax_errors == SYNTAX_ERRORS_PER_FILE_MAX {
            break;
        }
        let Some((lines, offset)) = next_document(rest, relative_line) else {
            break;
        };
        first_line += lines;
        rest = &rest[offset..];
    }
    parsed
}

/// The number of lines and bytes before the first document that begins at or after line
/// `from`, counted from 1, and not on the first line.
fn next_document(text: &str, from: usize) -> Option<(u32, usize)> {
    let mut offset = 0;
    for (index, line) in lines(text).enumerate() {
        if index > 0 && index + 1 >= from && line.starts_with("---") {
            return Some((index as u32, offset));
        }
        offset += line.len();
    }
    None
}

/// The first character that is not allowed in YAML.
fn control_character(text: &str) -> Option<Problem> {
    let found = text
        .bytes()
        .position(|b| b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r'))?;
    let message = "a control character, which YAML does not allow; remove it, or write it as an \
                   escape in double quotes";
    Some(Problem {
        mark: Mark::after(&text[..found]),
        code: codes::SYNTAX,
        message: message.to_owned(),
    })
}

/// JSON encodes a character beyond the basic plane as two escapes. They are replaced by the
/// single escape of YAML. Text that is not JSON does not change.
fn joined_surrogates(text: &str) -> Cow<'_, str> {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let mut parts = text.split("\\u");
    if !is_json || parts.clone().count() < 3 {
        return Cow::Borrowed(text);
    }
    let mut joined = parts.next().unwrap_or_default().to_owned();
    let mut high: Option<u32> = None;
    for part in parts {
        let unit = part
            .get(..4)
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match (high.take(), unit) {
            (Some(first), Some(second @ 0xdc00..=0xdfff)) => {
                let character = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                joined.push_str(&format!("\\U{character:08x}{}", &part[4..]));
            }
            (None, Some(first @ 0xd800..=0xdbff)) if part.len() == 4 => high = Some(first),
            (before, _) => {
                if let Some(first) = before {
                    joined.push_str(&format!("\\u{first:04x}"));
                }
                joined.push_str("\\u");
                joined.push_str(part);
            }
        }
    }
    if let Some(first) = high {
        joined.push_str(&format!("\\u{first:04x}"));
    }
    Cow::Owned(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::Value;

    fn one(text: &str) -> Node {
        let mut parsed = parse(text);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        assert_eq!(parsed.documents.len(), 1);
        parsed.documents.remove(0)
    }

    fn messages(text: &str) -> Vec<String> {
        parse(text)
            .problems
            .iter()
            .map(|p| format!("{}:{}: {}", p.mark.line, p.mark.column, p.message))
            .collect()
    }

    #[test]
    fn keys_and_values_have_positions() {
        let root = one("a: 1\nb:\n  c: [x, y]\n");
        let Value::Mapping(entries) = &root.value else {
            panic!("a mapping")
        };
        assert_eq!(entries[1].key_mark, Mark { line: 2, column: 1 });
        let list = root.get("b").and_then(|b| b.get("c")).expect("b.c");
        let Value::Sequence(items) = &list.value else {
            panic!("a list")
        };
        assert_eq!(
            items[1].mark,
            Mark {
                line: 3,
                column: 10
            }
        );
    }

    #[test]
    fn empty_documents_are_skipped() {
        assert!(parse("---\n# nothing\n---\n...\n").documents.is_empty());
        assert_eq!(parse("---\n---\na: 1\n---\n").documents.len(), 1);
    }

    #[test]
    fn parsing_continues_after_a_malformed_document() {
        let parsed = parse("a: [1\n---\nb: 2\n---\nc: }\n---\nd: 4\n");
        assert_eq!(parsed.problems.len(), 2);
        assert_eq!(parsed.problems[1].mark.line, 5);
        let last = parsed.documents.last().expect("a document");
        assert_eq!(last.get("d").expect("d").mark, Mark { line: 7, column: 4 });
    }

    #[test]
    fn merge_keys_add_absent_keys() {
        let root = one("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n");
        let used = root.get("use").expect("use");
        assert_eq!(used.get("x").and_then(Node::as_text), Some("1"));
        assert_eq!(used.get("y").and_then(Node::as_text), Some("3"));
    }

    #[test]
    fn aliases_do_not_multiply_without_bound() {
        let mut text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for level in 1..12 {
            let previous = format!("*a{}", level - 1);
            text += &format!("a{level}: &a{level} [{}]\n", vec![previous; 10].join(","));
        }
        assert!(messages(&text)[0].contains("more than"));
    }

    #[test]
    fn aliases_do_not_repeat_a_long_text_without_bound() {
        let mut text = format!("a: &a {}\nb: [", "x".repeat(1 << 20));
        text += &"*a,".repeat(100_000);
        text += "]\n";
        assert!(messages(&text)[0].contains("bytes of text"));
    }

    #[test]
    fn a_repeated_key_names_the_first_one() {
        assert_eq!(
            messages("a: 1\nb: 2\na: 3\n"),
            ["3:1: this key is already set on line 1; keep one of the two"]
        );
    }

    #[test]
    fn json_is_yaml() {
        let root = one("{\n\t\"a\": {\"b\": [1, \"x\\/y\\u00e9\"]}\n}\n");
        let list = root.get("a").and_then(|a| a.get("b")).expect("a.b");
        let Value::Sequence(items) = &list.value else {
            panic!("a list")
        };
        assert_eq!(items[1].as_text(), Some("x/yé"));
        assert_eq!(
            items[1].mark,
            Mark {
                line: 2,
                column: 17
            }
        );
    }

    #[test]
    fn a_single_carriage_return_ends_a_line() {
        assert_eq!(messages("a: 1\rb: [\r---\rc: }\r")[1][..2], *"4:");
    }

    #[test]
    fn errors_at_the_end_are_on_the_last_line() {
        let root = one("a: 1\n? ");
        let Value::Mapping(entries) = &root.value else {
            panic!("a mapping")
        };
        assert_eq!(entries[1].key_mark, Mark { line: 2, column: 3 });
    }

    #[test]
    fn json_surrogate_pairs_are_one_character() {
        let root = one("{\"a\": \"\\ud83d\\ude00\"}");
        assert_eq!(root.get("a").and_then(Node::as_text), Some("😀"));
    }
}
