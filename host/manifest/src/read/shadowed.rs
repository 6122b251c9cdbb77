//! Rules of a VirtualService that never match, since earlier rules match first.

mod coverage;

use std::collections::HashMap;

use coverage::covers;

use crate::model::{HttpMatch, HttpRoute, StringMatch};

/// Rules with matches that earlier rules cover: the index of the rule, that of an earlier
/// one, and whether all of its matches are covered or only some.
///
/// A match is covered by an earlier one that is equal or whose conditions are all wider. The
/// cost is linear in the number of rules.
pub(super) fn shadowed(http: &[HttpRoute]) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    let mut seen = SeenKeys::default();
    for (index, rule) in http.iter().enumerate() {
        if let Some(earlier) = seen.catch_all {
            found.push((index, earlier, true));
            continue;
        }
        let covered: Vec<Option<usize>> = rule.matches.iter().map(|m| seen.covering(m)).collect();
        let count = covered.iter().flatten().count();
        if let (true, Some(earlier)) = (count > 0, covered.iter().flatten().next()) {
            found.push((index, *earlier, count == covered.len()));
        }
        seen.add(index, rule);
    }
    found
}

/// Matches with several conditions that are compared with all later ones.
const COMPARED_MAX: usize = 64;

#[derive(Default)]
struct SeenKeys<'a> {
    /// A rule that matches every request.
    catch_all: Option<usize>,
    /// Matches that consist only of a prefix, with the first rule of each.
    prefixes: HashMap<String, usize>,
    /// Whole matches, by the text of all their conditions.
    equal: HashMap<String, usize>,
    /// The first matches, with their rules.
    others: Vec<(usize, &'a HttpMatch)>,
}

impl<'a> SeenKeys<'a> {
    fn add(&mut self, index: usize, rule: &'a HttpRoute) {
        if rule.matches.is_empty() {
            self.catch_all.get_or_insert(index);
        }
        for condition in &rule.matches {
            let any_path = matches!(&condition.uri, Some(StringMatch::Regex { pattern, .. }) if pattern == ".*");
            if any_path && is_path_alone(condition) {
                self.catch_all.get_or_insert(index);
            }
            self.equal.entry(fingerprint(condition)).or_insert(index);
            if self.others.len() < COMPARED_MAX {
                self.others.push((index, condition));
            }
            if let (true, Some(StringMatch::Prefix(prefix))) =
                (is_path_alone(condition), &condition.uri)
                && !condition.ignore_uri_case
            {
                if prefix.is_empty() || prefix == "/" {
                    self.catch_all.get_or_insert(index);
                }
                self.prefixes.entry(prefix.clone()).or_insert(index);
            }
        }
    }

    fn covering(&self, condition: &HttpMatch) -> Option<usize> {
        if let Some(index) = self.equal.get(&fingerprint(condition)) {
            return Some(*index);
        }
        let wider = self.others.iter().find(|(_, it)| covers(it, condition));
        if let Some((index, _)) = wider {
            return Some(*index);
        }
        let (Some(StringMatch::Prefix(path) | StringMatch::Exact(path)), false) =
            (&condition.uri, condition.ignore_uri_case)
        else {
            return None;
        };
        if self.prefixes.is_empty() {
            return None;
        }
        path.char_indices()
            .map(|(at, _)| &path[..at])
            .chain([path.as_str()])
            .find_map(|prefix| self.prefixes.get(prefix).copied())
    }
}

/// Whether the path is the only condition.
fn is_path_alone(m: &HttpMatch) -> bool {
    m.scheme.is_none()
        && m.method.is_none()
        && m.authority.is_none()
        && m.headers.is_empty()
        && m.without_headers.is_empty()
        && m.query_params.is_empty()
        && m.port.is_none()
        && m.source_labels.is_empty()
        && m.source_namespace.is_none()
        && m.gateways.is_empty()
}

/// All conditions of a match as text, without positions.
fn fingerprint(m: &HttpMatch) -> String {
    let text = |m: &StringMatch| match m {
        StringMatch::Exact(text) => format!("={text}"),
        StringMatch::Prefix(text) => format!("^{text}"),
        StringMatch::PathPrefix(text) => format!("/{text}"),
        StringMatch::Regex { pattern, .. } => format!("~{pattern}"),
        StringMatch::Present => "*".to_owned(),
    };
    let one = |m: &Option<StringMatch>| m.as_ref().map(text);
    let many = |list: &[(String, StringMatch)]| -> Vec<(String, String)> {
        list.iter()
            .map(|(name, m)| (name.clone(), text(m)))
            .collect()
    };
    let gateways: Vec<&str> = m
        .gateways
        .iter()
        .map(|gateway| gateway.value.as_str())
        .collect();
    format!(
        "{:?}",
        (
            (
                one(&m.uri),
                m.ignore_uri_case,
                one(&m.scheme),
                one(&m.method),
                one(&m.authority)
            ),
            (
                many(&m.headers),
                many(&m.without_headers),
                many(&m.query_params)
            ),
            (m.port, &m.source_labels, &m.source_namespace, gateways),
        )
    )
}
