//! The metric names in a query.

/// Words of PromQL that are not followed directly by arguments.
const KEYWORDS: [&str; 10] = [
    "sum", "max", "min", "count", "avg", "and", "or", "unless", "bool", "offset",
];

/// Words that are followed by a list of labels.
const LISTS: [&str; 6] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
];

/// Every metric in `query`, including repetitions.
pub fn metrics(query: &str) -> Vec<String> {
    let text = outside(query);
    let mut found = Vec::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find(is_of_name) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        let is_call = after.trim_start().starts_with('(');
        if is_call && LISTS.contains(&word) {
            rest = after.split_once(')').map_or("", |(_, after)| after);
        } else if !is_call && !KEYWORDS.contains(&word) && !word.starts_with(is_of_number) {
            found.push(word.to_owned());
        }
    }
    found
}

/// The query without strings, matchers and ranges.
fn outside(query: &str) -> String {
    let (mut text, mut depth, mut quoted) = (String::new(), 0, false);
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => depth += 1,
            '}' | ']' if !quoted => depth -= 1,
            _ if !quoted && depth == 0 => text.push(c),
            _ => {}
        }
    }
    text
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

fn is_of_number(c: char) -> bool {
    c.is_ascii_digit()
}

#[test]
fn metrics_are_distinguished_from_labels_functions_and_keywords() {
    let query = "histogram_quantile(0.99, sum by (le, a) (rate(b_bucket{c=~\"d{}\"}[5m]))) \
        / on (e) max(f:g{h=\"i\"} offset 5m == bool 0) unless time() - 14 * k";
    assert_eq!(metrics(query), ["b_bucket", "f:g", "k"]);
}
