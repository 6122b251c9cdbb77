//! Regular expressions in Envoy's RE2 syntax: compiled once, limited in size, and matching
//! the whole text.

use regex::{Regex, RegexBuilder};

use super::{Decoder, non_empty};
use crate::codes;
use crate::limits::REGEX_BYTES_MAX;
use crate::yaml::Node;

/// The pattern as written, and compiled so that it matches a whole text.
pub(crate) fn full_match(d: &mut Decoder, node: &Node) -> Option<(String, Regex)> {
    let pattern = non_empty(d, node)?;
    let regex = compile(d, node, &pattern, &format!("^(?:{pattern})$"))?;
    Some((pattern, regex))
}

/// A pattern that may match a part of the text, as in `uriRegexRewrite.match`.
pub(crate) fn rewrite_pattern(d: &mut Decoder, node: &Node) -> Option<Regex> {
    let pattern = non_empty(d, node)?;
    compile(d, node, &pattern, &pattern)
}

fn compile(d: &mut Decoder, node: &Node, pattern: &str, whole: &str) -> Option<Regex> {
    // A pattern that closes a group may be valid only inside the group that is put around it
    // (`a)(?:b`), so it is compiled on its own first. Others are compiled once.
    let alone = if pattern.contains(')') {
        build(pattern).map(drop)
    } else {
        Ok(())
    };
    let error = match alone.and_then(|()| build(whole)) {
        Ok(regex) => return Some(regex),
        Err(error) => build(pattern).err().unwrap_or(error),
    };
    let shown = d.show(pattern);
    let message = format!(
        "{shown} is not a regular expression: {}",
        explain(pattern, &error)
    );
    d.error(node.mark, codes::INVALID_REGEX, message);
    None
}

fn build(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(REGEX_BYTES_MAX)
        .build()
}

/// The compiler's message in one line, or a better one if there is.
fn explain(pattern: &str, error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return "it is too large; use smaller repetitions".to_owned();
    }
    if pattern.starts_with('*') {
        return "`*` repeats the item before it, and there is none; write `.*` for any text"
            .to_owned();
    }
    if ["(?=", "(?!", "(?<=", "(?<!"]
        .iter()
        .any(|look| pattern.contains(look))
    {
        return "look-ahead and look-behind do not exist in RE2 syntax; use withoutHeaders or two rules"
            .to_owned();
    }
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or(&text).trim();
    reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
}
