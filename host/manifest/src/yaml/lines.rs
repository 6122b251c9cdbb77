//! The lines of YAML, which end with `\n`, `\r\n` or a single `\r`.

use std::iter;

use super::Mark;

/// The lines of a text, each with its break.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        let end = match rest.find(['\n', '\r']) {
            Some(at) if rest[at..].starts_with("\r\n") => at + 2,
            Some(at) => at + 1,
            None => rest.len(),
        };
        let line;
        (line, rest) = rest.split_at(end);
        (!line.is_empty()).then_some(line)
    })
}

/// The text without its last break.
pub(super) fn trim_break(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

impl Mark {
    /// The position after a text.
    pub(crate) fn after(text: &str) -> Self {
        let last = text.rfind(['\n', '\r']).map_or(text, |at| &text[at + 1..]);
        let breaks = lines(&text[..text.len() - last.len()]).count();
        Self {
            line: breaks as u32 + 1,
            column: last.chars().count() as u32 + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_break_ends_a_line() {
        let text = "a\nb\r\nc\rd\r\r\n\ne";
        let found: Vec<_> = lines(text).collect();
        assert_eq!(found, ["a\n", "b\r\n", "c\r", "d\r", "\r\n", "\n", "e"]);
        assert_eq!(Mark::after(text), Mark { line: 7, column: 2 });
        assert_eq!(Mark::after(""), Mark { line: 1, column: 1 });
        assert_eq!(Mark::after("é\r"), Mark { line: 2, column: 1 });
    }
}
